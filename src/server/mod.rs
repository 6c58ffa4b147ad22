//! Runs the server: it opens the sockets, loads the models, and drains when it is told to stop.
//!
//! Sockets and the shutdown signal come in from outside, so that tests can bind port 0 and stop the server themselves.
//!
//! - [`run`]: the whole life of the server, from the first socket to the last answer.
//! - `accept`: accepts connections until it is told to stop. `slots` bounds how many, `open_files` what the system allows.
//! - `connection`: serves one, in the clear or over `tls`. `activity` counts what goes on on it, `life` decides by that when it ends.
//! - `drain`: how the server and its connections end.
//! - `background`: what runs once a second, and the watch over the model folder.

mod accept;
mod activity;
mod background;
mod certificate;
mod connection;
mod drain;
mod life;
mod open_files;
mod slots;
mod tls;
mod transport;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{net::TcpListener, sync::watch};

use self::{
    accept::{Door, serve},
    connection::{Protocols, Routes},
    drain::Phase,
    life::Limits,
    slots::Slots,
    tls::Tls,
};
use crate::{
    api,
    auth::Authenticator,
    config::{AdminListen, Config},
    engine::thread_plan::usable_cpus,
    inference::Inference,
    lifecycle::LifecycleState,
    models::Selection,
    telemetry::Export,
};

/// Time that idle connections stay open after the last one was accepted. A client of HTTP/1 that keeps its connection may have sent a
/// request before it learns that the server goes, and that request is answered. Who has a drain delay waits for clients that think for
/// longer, too.
const LINGER: Duration = Duration::from_millis(250);
const LONGEST_LINGER: Duration = Duration::from_secs(1);

/// Most connections on the admin listener: for probes, for Prometheus and for people.
const ADMIN_CONNECTIONS: usize = 64;

/// The listening sockets of a server.
#[derive(Debug)]
pub struct Listeners {
    /// The socket for requests.
    pub main: TcpListener,
    /// The socket for calls that change something; none where `main` takes them, or nobody does.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds the addresses of the settings.
    ///
    /// # Errors
    /// An address is in use, or does not belong to this machine.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |address, setting| {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address} (setting `{setting}`)"))
        };
        let main = bind(config.listen, "listen").await?;
        let admin = match (config.admin_listen, config.admin_listen.address()) {
            (_, None) => None,
            (AdminListen::Auto, Some(address)) => bind(address, "admin_listen").await.map_err(warn_without_admin).ok(),
            (_, Some(address)) => Some(bind(address, "admin_listen").await?),
        };
        Ok(Self { main, admin })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn warn_without_admin(error: anyhow::Error) {
    tracing::warn!(
        "NO MODEL CAN BE LOADED OR UNLOADED BY A CALL: {error:#}; name a free address with admin_listen, or \"\" for the main port"
    );
}

/// Warns where others than this machine's own programs reach a server that wants no key.
fn warn_if_open(address: SocketAddr, authenticator: &Authenticator) {
    if !address.ip().is_loopback() && !authenticator.wants_keys() {
        tracing::warn!(
            %address,
            "WHOEVER REACHES THIS ADDRESS MAY ASK THIS SERVER, since auth.mode is \"open\"; set auth.mode = \"keys\" (docs/security.md), \
             or listen on 127.0.0.1"
        );
    }
}

/// Serves until `shutdown` completes, then drains.
///
/// The sockets answer from the start: while models are being loaded, `/readyz` and requests that need a model get 503.
/// While the server drains, `/readyz` says 503 and each answer closes its connection. After the drain delay no connection
/// is accepted any more, and requests in flight have the grace time to end.
///
/// # Errors
/// A model cannot be served, or a socket fails.
pub async fn run(config: Config, listeners: Listeners, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    run_only(config, listeners, Selection::default(), || {}, shutdown).await
}

/// Serves some of the models like [`run`], and calls `ready` when they are loaded.
///
/// # Errors
/// These are the errors of [`run`].
pub async fn run_only(
    mut config: Config,
    listeners: Listeners,
    only: Selection,
    ready: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let all = only.model.is_none();
    let (drain_delay, grace) = (config.shutdown.drain_delay, config.shutdown.grace);
    let limits = Limits {
        idle: config.requests.header_timeout,
        write: config.connections.write_timeout_ms.duration(),
        age: Some(config.connections.max_age).filter(|age| !age.is_zero()),
        linger: LINGER.max(drain_delay.min(LONGEST_LINGER)),
    };
    let connections = config.connections.clone();
    let tls = config.tls.files().map(|files| Tls::new(files, &config)).transpose()?.map(Arc::new);
    let export = Export::start(&config.telemetry)?;
    let authenticator = Arc::new(Authenticator::new(&mut config)?);
    // They come while the models are loaded, and nobody waits for them.
    let fetching_keys = tokio::spawn(background::keep_token_keys_fresh(Arc::clone(&authenticator)));
    let inference = Inference::new(config)?;
    let (tell_phase, phase) = watch::channel(Phase::Serving);
    let address = listeners.main.local_addr()?;
    // Port 0 stands for any free port, so whoever started the server reads the real port from this line.
    tracing::info!(%address, tls = tls.is_some(), "listening");
    warn_if_open(address, &authenticator);
    let admin_slots = if listeners.admin.is_some() { ADMIN_CONNECTIONS } else { 0 };
    let room = open_files::room_for(connections.max.get() + admin_slots).saturating_sub(admin_slots).max(1);
    let door = |router, tls, max| Door {
        routes: Routes { router, inference: Arc::clone(&inference) },
        protocols: Protocols::new(limits),
        slots: Slots::new(max, connections.max_per_address.get(), Arc::clone(&inference)),
        tls,
    };
    let app = api::app(Arc::clone(&inference), Arc::clone(&authenticator), export.traces());
    let mut servers = vec![serve(listeners.main, door(app, tls.clone(), room), phase.clone())];
    if let Some(listener) = listeners.admin {
        let address = listener.local_addr()?;
        tracing::info!(%address, "the admin port listens");
        warn_if_open(address, &authenticator);
        // Probes and Prometheus have no certificates, so it speaks plain HTTP.
        let app = api::admin(Arc::clone(&inference), Arc::clone(&authenticator), export.traces());
        servers.push(serve(listener, door(app, None, ADMIN_CONNECTIONS), phase));
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
    // Where only some of the models are served, models that are new in the folder are not served, either.
    let watching = tokio::spawn(background::watch_folder(Arc::clone(&inference), all));
    let watching_keys = tokio::spawn(background::watch_keys(authenticator));
    let ticking = tokio::spawn(background::tick_every_second(Arc::clone(&inference)));
    let reloading = tokio::spawn(background::reload_certificates(tls));
    shutdown.await;
    watching.abort();
    tracing::info!(drain_delay_ms = drain_delay.as_millis(), "draining");
    // `/readyz` turns to 503; requests are still answered.
    inference.lifecycle().advance(LifecycleState::Draining);
    tell_phase.send_replace(Phase::Draining);
    tokio::time::sleep(drain_delay).await;
    tell_phase.send_replace(Phase::Closing);
    drain::wait_for(servers, grace + limits.linger + life::FAREWELL).await?;
    ticking.abort();
    watching_keys.abort();
    fetching_keys.abort();
    reloading.abort();
    tokio::task::spawn_blocking(move || inference.close()).await?;
    export.end().await;
    tracing::info!("stopped");
    Ok(())
}
