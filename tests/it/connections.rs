//! Whoever says nothing, or does not listen, does not keep a connection; and nobody keeps one for ever.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    process::Command,
    time::Duration,
};

use tokio::net::TcpSocket;

use crate::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GET_FRONT, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
        frame, hello,
    },
    harness::{Process, Server, ounce, photo, root, series, sum, until},
    scraped,
    sockets::{address, answer, connect, rest},
};

tests![
    whoever_says_nothing_or_half_is_closed,
    whoever_does_not_read_is_closed,
    there_is_room_for_who_asks_beside_those_who_are_silent,
    few_open_files_are_enough_for_who_asks,
    a_connection_ends_at_its_age_and_no_request_with_it,
    floods_of_frames_hurt_nobody_else,
    a_request_has_one_host,
    a_head_has_at_most_64_kilobytes,
];

async fn metrics(server: &Server) -> BTreeMap<String, f64> {
    series(&scraped::metrics(server).await)
}

async fn refused(server: &Server, reason: &str) -> f64 {
    sum(&metrics(server).await, "ounce_connections_refused_total", &[&format!("reason=\"{reason}\"")])
}

async fn server(settings: &[(&str, &str)]) -> Server {
    Server::start(&root().join("models"), settings).await
}

async fn whoever_says_nothing_or_half_is_closed() {
    let server = server(&[("OUNCE_REQUESTS__HEADER_TIMEOUT_MS", "500")]).await;
    let unended = frame(HEADERS, END_STREAM, 1, GET_FRONT);
    let shapes: [(&str, Vec<u8>); 9] = [
        ("nothing", Vec::new()),
        ("one byte", b"G".to_vec()),
        ("half a preface", PREFACE[..12].to_vec()),
        ("a preface and no settings", PREFACE.to_vec()),
        ("settings and no request", hello(&[])),
        ("headers without an end", [hello(&[]), unended.clone()].concat()),
        (
            "a frame without its content",
            [hello(&[]), frame(HEADERS, END_HEADERS, 1, GET_FRONT)[..12].to_vec()].concat(),
        ),
        ("half a head", b"GET /livez HTTP/1.1\r\nhost: x\r\n".to_vec()),
        (
            "a request over HTTP/2 and no other",
            [hello(&[]), frame(HEADERS, END_STREAM | END_HEADERS, 1, GET_FRONT)].concat(),
        ),
    ];
    let sockets = shapes.map(|(what, bytes)| {
        let mut socket = connect(&server.url);
        socket.write_all(&bytes).expect("sent");
        (what, socket)
    });
    // Somebody who dribbles a head that never ends is no better, over either protocol.
    let dribbling = [b"GET /livez HTTP/1.1\r\nhost: x\r\nx: ".to_vec(), [hello(&[]), unended].concat()].map(|begin| {
        let is_http2 = begin.starts_with(PREFACE);
        let mut socket = connect(&server.url);
        std::thread::spawn(move || {
            socket.write_all(&begin).expect("sent");
            let drop = if is_http2 { frame(CONTINUATION, 0, 1, &[0x40, 1, b'a', 1, b'b']) } else { b"y".to_vec() };
            while socket.write_all(&drop).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    });
    let mut good = connect(&server.url);
    for (what, mut socket) in sockets {
        println!("{what}");
        rest(&mut socket);
        good.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");
        if answer(&mut good).is_none() {
            // It had nothing to say for half a second.
            good = connect(&server.url);
        }
    }
    for dribbler in dribbling {
        dribbler.join().expect("it is closed");
    }
}

async fn whoever_does_not_read_is_closed() {
    let server = server(&[("OUNCE_CONNECTIONS__WRITE_TIMEOUT_MS", "500"), ("OUNCE_CONNECTIONS__MAX_AGE_S", "0")]).await;
    // Over HTTP/1 the system's buffers fill: as many answers as that takes.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(address(&server.url)).await.expect("it listens").into_std().expect("a stream");
    stream.set_nonblocking(false).expect("blocking");
    let mut deaf = stream;
    let ask = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(30);
    deaf.write_all(ask.as_bytes()).expect("sent");
    // Over HTTP/2 a client says how much it takes: nothing.
    let mut closed = connect(&server.url);
    let no_window = [0, 4, 0, 0, 0, 0];
    let ask = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET_FRONT);
    closed.write_all(&[hello(&no_window), ask].concat()).expect("sent");
    // And pings meanwhile, so that it seems to live.
    let mut pinging = closed.try_clone().expect("the same");
    let pings = std::thread::spawn(move || {
        while pinging.write_all(&frame(PING, 0, 0, b"ouncepng")).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let said = rest(&mut closed);
    assert!(!said.is_empty(), "it was answered");
    pings.join().expect("it is closed");
    until("only who asks is left", async || metrics(&server).await["ounce_connections"] <= 2.0).await;
    drop(deaf);
}

async fn there_is_room_for_who_asks_beside_those_who_are_silent() {
    // Nobody is sent away for a body that does not come.
    let patient = [("OUNCE_BODIES__GRACE_MS", "600000"), ("OUNCE_REQUESTS__BODY_TIMEOUT_MS", "600000")];
    let settings = [("OUNCE_CONNECTIONS__MAX", "8"), ("OUNCE_CONNECTIONS__MAX_PER_ADDRESS", "6")];
    let server = server(&[&settings[..], &patient].concat()).await;
    let silent: Vec<_> = (0..30).map(|_| connect(&server.url)).collect();
    for _ in 0..3 {
        // Each over a connection of its own.
        let alive = reqwest::Client::new().get(format!("{}/livez", server.url)).send().await.expect("an answer");
        assert_eq!(alive.status(), 200);
    }
    assert!(refused(&server, "evicted").await >= 24.0);
    assert!(metrics(&server).await["ounce_connections"] <= 6.0, "no more than one address may have");
    drop(silent);

    // Those at work are not sent away: who comes then is.
    let head = "POST /v1/detect HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n";
    let mut at_work: Vec<_> = (0..6).map(|_| connect(&server.url)).collect();
    for socket in &mut at_work {
        socket.write_all(head.as_bytes()).expect("sent");
    }
    let mut one_more = connect(&server.url);
    until("all are at work and the last is closed", async || {
        let _ = one_more.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
        let closed = answer(&mut one_more).is_none();
        one_more = connect(&server.url);
        closed
    })
    .await;
    drop(at_work);
    until("it is counted", async || {
        let answer = reqwest::get(format!("{}/metrics", server.url)).await;
        let Ok(answer) = answer else { return false };
        sum(&series(&answer.text().await.expect("text")), "ounce_connections_refused_total", &["reason=\"address\""])
            >= 1.0
    })
    .await;
}

async fn few_open_files_are_enough_for_who_asks() {
    let mut shell = Command::new("sh");
    shell.current_dir(root()).args(["-c", "ulimit -n 256 && exec \"$0\" serve --listen 127.0.0.1:0"]);
    shell.arg(ounce().get_program());
    shell.env("OUNCE_ADMIN_LISTEN", "");
    let server = Process::run(shell);
    server.ready().await;
    let silent: Vec<_> = (0..300).map(|_| connect(&server.url)).collect();
    for _ in 0..5 {
        let alive = reqwest::get(format!("{}/livez", server.url)).await.expect("an answer");
        assert_eq!(alive.status(), 200);
    }
    let answer = reqwest::Client::new().post(format!("{}/v1/detect", server.url)).body(photo()).send().await;
    assert_eq!(answer.expect("an answer").status(), 200, "and there are files for everything else");
    drop(silent);
}

async fn a_connection_ends_at_its_age_and_no_request_with_it() {
    let server = server(&[("OUNCE_CONNECTIONS__MAX_AGE_S", "1")]).await;
    let mut socket = connect(&server.url);
    let mut asked = 0;
    loop {
        socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").expect("it is open until it has said that it ends");
        let (status, head) = answer(&mut socket).expect("each is answered");
        asked += 1;
        assert_eq!(status, 200);
        if head.contains("connection: close") {
            break;
        }
    }
    assert!(asked > 1, "it was kept for a while");
    assert_eq!(rest(&mut socket), b"", "and then it is closed");

    // Over HTTP/2 a GOAWAY says so; a client goes on over another connection without losing a request.
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let mut raw = connect(&server.url);
    raw.write_all(&hello(&[])).expect("sent");
    let asking = std::thread::spawn(move || {
        let mut stream = 1;
        let mut buffer = [0; 65536];
        raw.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let mut said = Vec::new();
        while !kinds(&said).contains(&GOAWAY) {
            raw.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, stream, GET_FRONT)).expect("it is open");
            stream += 2;
            if let Ok(read) = raw.read(&mut buffer) {
                said.extend(&buffer[..read]);
            }
        }
    });
    while !asking.is_finished() {
        let alive = client.get(format!("{}/livez", server.url)).send().await.expect("an answer");
        assert_eq!((alive.status().as_u16(), alive.version()), (200, reqwest::Version::HTTP_2));
    }
    asking.join().expect("it was told");
}

/// The kinds of the frames in what a server has said.
fn kinds(mut said: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, rest @ ..] = said {
        kinds.push(*kind);
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        said = rest.get(5 + length..).unwrap_or_default();
    }
    kinds
}

async fn floods_of_frames_hurt_nobody_else() {
    let server = server(&[]).await;
    let get = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, GET_FRONT);
    let continuation = frame(CONTINUATION, 0, 1, &[[0x40, 1, b'a', 1, b'b']; 200].concat());
    let floods: [(&str, Vec<u8>); 6] = [
        ("pings", frame(PING, 0, 0, b"ouncepng").repeat(20_000)),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(20_000)),
        (
            "rapid reset",
            (0..20_000)
                .flat_map(|n| [get(2 * n + 1), frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])].concat())
                .collect(),
        ),
        ("continuations", [frame(HEADERS, END_STREAM, 1, GET_FRONT), continuation.repeat(5_000)].concat()),
        (
            "empty data",
            [frame(HEADERS, END_HEADERS, 1, &[0x83, 0x86, 0x84, 0x41, 1, b'x']), frame(DATA, 0, 1, b"").repeat(20_000)]
                .concat(),
        ),
        (
            "a head of 16 MB",
            [
                frame(HEADERS, 0, 1, GET_FRONT),
                frame(CONTINUATION, 0, 1, &[&[0x40, 1, b'a', 0x7f, 0x81, 0x7e][..], &[b'b'; 16_000]].concat())
                    .repeat(1000),
            ]
            .concat(),
        ),
    ];
    for (what, flood) in floods {
        println!("{what}");
        let mut socket = connect(&server.url);
        let mut reading = socket.try_clone().expect("the same");
        let reader = std::thread::spawn(move || rest(&mut reading).len());
        // The server may end it before all is sent.
        let _ = socket.write_all(&[hello(&[]), flood].concat());
        let (status, _) = server.post("/v1/detect", "image/png", photo()).await;
        assert_eq!(status, 200, "somebody else is answered beside {what}");
        let _ = socket.shutdown(std::net::Shutdown::Both);
        reader.join().expect("it ended");
    }
}

async fn a_request_has_one_host() {
    let server = server(&[]).await;
    let ask = |head: &str| {
        let mut socket = connect(&server.url);
        socket.write_all(format!("{head}\r\n\r\n").as_bytes()).expect("sent");
        answer(&mut socket).expect("an answer")
    };
    for (head, status) in [
        ("GET /livez HTTP/1.1\r\nhost: x", 200),
        ("GET /livez HTTP/1.1\r\nhost:", 200),
        ("GET http://x/livez HTTP/1.1\r\nhost: x", 200),
        ("GET /livez HTTP/1.0", 200),
        ("GET /livez HTTP/1.1", 400),
        ("GET http://x/livez HTTP/1.1", 400),
        ("GET /livez HTTP/1.1\r\nhost: x\r\nhost: x", 400),
        ("GET /livez HTTP/1.1\r\nhost: x\r\nHost: y", 400),
        ("GET /livez HTTP/1.0\r\nhost: x\r\nhost: y", 400),
    ] {
        assert_eq!(ask(head).0, status, "{head}");
    }
    let (_, head) = ask("GET /livez HTTP/1.1");
    assert!(head.contains("application/problem+json"), "{head}");
}

async fn a_head_has_at_most_64_kilobytes() {
    let server = server(&[]).await;
    let ask = |bytes: usize| {
        let mut socket = connect(&server.url);
        let head = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "y".repeat(bytes));
        let _ = socket.write_all(head.as_bytes());
        answer(&mut socket).map(|(status, _)| status)
    };
    assert_eq!(ask(50_000), Some(200));
    assert!([Some(431), None].contains(&ask(80_000)), "it is refused, or the connection ends while the head is sent");
}
