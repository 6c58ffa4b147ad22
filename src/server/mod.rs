//! Wires the rooms and runs them: sockets and the shutdown signal come from outside, so that tests bind port 0.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    api,
    config::Config,
    engine::thread_plan::usable_cpus,
    inference::{Inference, tick::tick},
    lifecycle::LifecycleState,
    models::{FolderState, Selection},
    telemetry::Export,
};

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How long open connections live on after the last one was accepted; never longer than the drain delay.
const LINGER: Duration = Duration::from_secs(1);

/// How often it is looked whether any is left.
const LINGER_LOOK: Duration = Duration::from_millis(5);

/// How often the books are balanced.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The sockets of a server.
#[derive(Debug)]
pub struct Listeners {
    /// Where requests come in.
    pub main: TcpListener,
    /// Where `/metrics` is served instead of on `main`.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds what the settings name.
    ///
    /// # Errors
    /// When an address is taken or not ours.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |address, setting| {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address} (setting `{setting}`)"))
        };
        let main = bind(config.listen, "listen").await?;
        let admin = match config.admin_listen {
            Some(address) => Some(bind(address, "admin_listen").await?),
            None => None,
        };
        Ok(Self { main, admin })
    }
}

/// Serves until `shutdown` comes, then drains: `/readyz` turns to 503 and each answer ends its connection; after the drain
/// delay no connection is accepted, what is in flight ends within the grace time.
///
/// The sockets answer from the first moment: while models are loaded, what needs one and `/readyz` with 503.
///
/// # Errors
/// When a model cannot be served or a socket fails.
pub async fn run(config: Config, listeners: Listeners, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    run_only(config, listeners, Selection::default(), || {}, shutdown).await
}

/// As [`run`], for some of the models; calls `ready` when these are loaded.
///
/// # Errors
/// As [`run`].
pub async fn run_only(
    config: Config,
    listeners: Listeners,
    only: Selection,
    ready: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let all = only.model.is_none();
    let (drain_delay, grace) = (config.shutdown.drain_delay, config.shutdown.grace);
    let timeouts = Timeouts { header: config.requests.header_timeout, linger: LINGER.min(drain_delay) };
    let export = Export::start(&config.telemetry)?;
    let inference = Inference::new(config)?;
    let (stop, stopped) = watch::channel(false);
    let address = listeners.main.local_addr()?;
    // Port 0 is any free one: who started the server reads here which it is.
    tracing::info!(%address, "listening");
    let app = api::app(Arc::clone(&inference), export.traces());
    let mut servers = vec![serve(listeners.main, app, timeouts, stopped.clone())];
    if let Some(admin) = listeners.admin {
        servers.push(serve(admin, api::admin(Arc::clone(&inference), export.traces()), timeouts, stopped));
    }

    tokio::pin!(shutdown);
    let loading = Arc::clone(&inference);
    let loaded = tokio::select! {
        loaded = tokio::task::spawn_blocking(move || loading.load(&only)) => loaded?,
        () = &mut shutdown => return Ok(()),
    };
    if let Err(wrong) = loaded {
        let sentences: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        bail!("nothing is served:\n  {}", sentences.join("\n  "));
    }
    let models: Vec<_> = inference.models().models().iter().map(|model| model.info.name.clone()).collect();
    let (cpus, decode_threads) = (usable_cpus(), inference.decode_threads());
    tracing::info!(%address, ?models, cpus, decode_threads, took_ms = begun.elapsed().as_secs_f64() * 1000.0, "ready");

    ready();
    // Where not all are served, what is new in the folder is not, either.
    let watching = tokio::spawn(watch(Arc::clone(&inference), all));
    let ticking = tokio::spawn(tick_every_second(Arc::clone(&inference)));
    shutdown.await;
    watching.abort();
    tracing::info!(drain_delay_ms = drain_delay.as_millis(), "draining");
    // `/readyz` turns to 503; requests are still answered.
    inference.lifecycle().advance(LifecycleState::Draining);
    tokio::time::sleep(drain_delay).await;
    stop.send_replace(true);
    end(servers, grace + timeouts.linger).await?;
    ticking.abort();
    tokio::task::spawn_blocking(move || inference.close()).await?;
    export.end().await;
    tracing::info!("stopped");
    Ok(())
}

/// Balances the books and estimates the load, once a second.
async fn tick_every_second(inference: Arc<Inference>) {
    let mut second = tokio::time::interval(LOOK_EVERY);
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        tick(&inference);
    }
}

/// Looks at the model folder from time to time, so that what changes there is served.
async fn watch(inference: Arc<Inference>, all: bool) {
    let every = inference.config().reload.watch;
    if every.is_zero() || !all {
        return;
    }
    let mut folder = FolderState::default();
    loop {
        tokio::time::sleep(every).await;
        let inference = Arc::clone(&inference);
        let check = move || {
            folder.check(inference.models());
            folder
        };
        match tokio::task::spawn_blocking(check).await {
            Ok(now) => folder = now,
            Err(error) => {
                tracing::error!(%error, "the model folder is no longer watched");
                return;
            }
        }
    }
}

/// How long connections may be silent.
#[derive(Debug, Clone, Copy)]
struct Timeouts {
    /// Before and in the head of a request.
    header: Duration,
    /// After the last connection was accepted: a request that is already under way on another one still finds it open.
    linger: Duration,
}

/// Accepts connections until `stopped`, then waits for those that are there to end what they are at.
fn serve(listener: TcpListener, app: Router, timeouts: Timeouts, mut stopped: watch::Receiver<bool>) -> JoinHandle<()> {
    let mut connections = auto::Builder::new(TokioExecutor::new());
    // Half a head must not hold a socket for ever.
    connections.http1().timer(TokioTimer::new()).header_read_timeout(timeouts.header);
    connections.http2().timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    let stop = async move {
        // An error means that the sender is gone, and then it is time to end, too.
        drop(stopped.wait_for(|stopped| *stopped).await);
    };
    tokio::spawn(async move {
        tokio::pin!(stop);
        let connect = |stream: TcpStream| {
            // Answers are small: waiting to fill a segment would only add latency.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
            let service = TowerToHyperService::new(app.clone());
            let connection = connections.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection.into_owned());
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error, "a connection ended");
                }
            });
        };
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // A client that went away at once, or no file descriptor left: neither ends the server.
                        tracing::debug!(%error, "accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            connect(stream);
        }
        for stream in waiting(listener) {
            connect(stream);
        }
        // Where connections are kept alive, a request may have set out before its sender hears that this one ends.
        let lingered = Instant::now();
        while graceful.count() > 0 && lingered.elapsed() < timeouts.linger {
            tokio::time::sleep(LINGER_LOOK).await;
        }
        graceful.shutdown().await;
    })
}

/// Closes the socket, and returns the connections that it had yet to give: closing alone would reset them.
fn waiting(listener: TcpListener) -> Vec<TcpStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let ready = |stream: std::net::TcpStream| stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
    // It does not block: when none is left, that is an error. One that its client gave up is none to stop at.
    let next = || loop {
        match listener.accept() {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            accepted => return accepted.ok(),
        }
    };
    std::iter::from_fn(next).filter_map(|(stream, _)| ready(stream).ok()).collect()
}

async fn end(servers: Vec<JoinHandle<()>>, grace: Duration) -> anyhow::Result<()> {
    let all = async {
        for server in servers {
            server.await?;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(grace, all).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!(grace_ms = grace.as_millis(), "requests were still in flight after the grace time");
            Ok(())
        }
    }
}
