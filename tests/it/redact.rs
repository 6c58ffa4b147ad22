//! `?redact=`: the picture comes back with people made unrecognisable, for good, and with nothing of its file's metadata.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Server, detections, iou, only, ounce, photo, root, shared};

tests![
    a_detector_finds_nobody_where_people_were,
    nothing_of_the_file_but_pixels_comes_back,
    what_cannot_be_redacted_is_refused_with_what_to_do,
    the_command_line_redacts_too
];

const WAYS: [&str; 2] = ["blur", "pixelate"];

/// Photos with people in them.
const PHOTOS: [&str; 5] = [
    "coco_val_000000001000.jpg",
    "coco_val_000000000785.jpg",
    "coco_val_000000000872.jpg",
    "coco_val_000000001268.jpg",
    "coco_val_000000002473.jpg",
];

async fn redacted(server: &Server, how: &str, image: Vec<u8>) -> Vec<u8> {
    let url = format!("{}/v1/detect?min_score=0.3&redact={how}", server.url);
    let answer = server.client.post(url).header("accept", "image/png").body(image).send().await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"image/png".parse().expect("one"))
    );
    answer.bytes().await.expect("bytes").to_vec()
}

async fn a_detector_finds_nobody_where_people_were() {
    let models = only(&["yolox-nano"]);
    // Found by the shipped model, and looked for by it and by one that was not asked.
    let (shipped, other) = (Server::start(&root().join("models"), &[]).await, Server::start(models.path(), &[]).await);
    let people = |answer: &Value| -> Vec<_> {
        detections(answer).into_iter().filter(|(label, ..)| label == "person").map(|(_, _, place)| place).collect()
    };
    let mut seen = 0;
    for name in PHOTOS {
        let photo = std::fs::read(shared("images/photos_ccby_coco").join(name)).expect("a photo");
        let (_, before) = shipped.post("/v1/detect?min_score=0.3", "image/jpeg", photo.clone()).await;
        let before = people(&before);
        seen += before.len();
        for how in WAYS {
            let picture = redacted(&shipped, how, photo.clone()).await;
            if let Some(folder) = std::env::var_os("REDACTED") {
                let file = std::path::Path::new(&folder).join(format!("{name}-{how}.png"));
                std::fs::write(file, &picture).expect("written");
            }
            for server in [&shipped, &other] {
                let (_, after) = server.post("/v1/detect?min_score=0.3", "image/png", picture.clone()).await;
                for place in people(&after) {
                    let again = before.iter().any(|was| iou(*was, place) > 0.5);
                    assert!(!again, "{name}, {how}: somebody is found again at {place:?}");
                }
            }
        }
    }
    assert!(seen >= 8, "{seen}");
}

async fn nothing_of_the_file_but_pixels_comes_back() {
    let server = Server::start(&root().join("models"), &[]).await;
    let marked = with_metadata(&photo());
    for (accept, query) in [("image/jpeg", "?redact=blur"), ("image/png", "?redact=pixelate"), ("image/jpeg", "")] {
        let post = server.client.post(format!("{}/v1/detect{query}", server.url)).header("accept", accept);
        let answer = post.body(marked.clone()).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let bytes = answer.bytes().await.expect("bytes");
        for word in [&b"MARKER"[..], b"Exif", b"GPS", b"http://ns.adobe.com", b"eXIf", b"tEXt", b"iTXt", b"Photoshop"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word), "{accept}{query}: {word:?}");
        }
    }
}

/// The picture as a JPEG with EXIF, XMP and a comment, all with a marker in them.
fn with_metadata(png: &[u8]) -> Vec<u8> {
    let image = image::load_from_memory(png).expect("a picture");
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image.to_rgb8().write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("JPEG");
    let jpeg = jpeg.into_inner();
    let segment = |kind: u8, text: &[u8]| {
        let length = u16::try_from(text.len() + 2).expect("short").to_be_bytes();
        [&[0xff, kind][..], &length, text].concat()
    };
    let exif =
        segment(0xe1, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0e\0\x02\0\0\0\x07\0\0\0\x1a\0\0\0\0MARKER\0GPS MARKER");
    let xmp = segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x>MARKER</x>");
    let irb = segment(0xed, b"Photoshop 3.0\0MARKER");
    [&jpeg[..2], &exif, &xmp, &irb, &segment(0xfe, b"MARKER"), &jpeg[2..]].concat()
}

async fn what_cannot_be_redacted_is_refused_with_what_to_do() {
    let server = Server::start(&root().join("models"), &[]).await;
    let ask = async |path: &str, accept: &str| {
        let post = server.client.post(format!("{}{path}", server.url)).header("accept", accept).body(photo());
        let answer = post.send().await.expect("an answer");
        assert_eq!(answer.status(), 400);
        let problem: Value = answer.json().await.expect("JSON");
        problem["detail"].as_str().expect("text").to_owned()
    };
    insta::assert_snapshot!(ask("/v1/detect?redact=blur", "*/*").await, @"`redact`: it is the picture that is redacted: ask for it with `Accept: image/jpeg` or `image/png`");
    insta::assert_snapshot!(ask("/v1/detect?redact=mosaic", "image/png").await, @"`redact`: `mosaic` is none of blur, pixelate");
    insta::assert_snapshot!(ask("/v1/classify?redact=blur", "image/png").await, @"`redact`: only what has a place in the picture can be made unrecognisable: ask a model that detects");
    let part = || reqwest::multipart::Part::bytes(photo()).file_name("a.png");
    let form = reqwest::multipart::Form::new().part("image", part()).part("image", part());
    let post = server.client.post(format!("{}/v1/detect?redact=blur", server.url)).header("accept", "image/png");
    let several: Value = post.multipart(form).send().await.expect("an answer").json().await.expect("JSON");
    insta::assert_snapshot!(several["detail"].as_str().expect("text"), @"`redact`: a redacted picture is the whole answer: send one picture, not a list");
}

fn the_command_line_redacts_too() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (from, to) = (folder.path().join("from.png"), folder.path().join("to.png"));
    std::fs::write(&from, photo()).expect("write");
    let predict = |arguments: &[&str]| {
        let mut command: Command = ounce();
        command.arg("predict").arg(&from).args(arguments).output().expect("it starts")
    };
    let path = to.display().to_string();
    let output = predict(&["--redact", "blur", "--min-score", "0", "-o", &path]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (before, after) = (image::open(&from).expect("one").to_rgb8(), image::open(&to).expect("one").to_rgb8());
    assert_ne!(before, after);
    let output = predict(&["--redact", "blur"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--output"), "a picture must be asked for");
}
