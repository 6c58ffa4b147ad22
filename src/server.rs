//! Wires the rooms and runs them: sockets and the shutdown signal come from outside, so that tests bind port 0.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::{
    Router,
    serve::{Listener as _, ListenerExt},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{config::Config, http, pipeline::Pipeline};

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

/// Serves until `shutdown` comes, then drains: `/readyz` turns to 503, after the drain delay no connection is accepted,
/// what is in flight ends within the grace time.
///
/// The sockets answer from the first moment, `/livez` with 200 and everything else with 503, while models are loaded.
///
/// # Errors
/// When a model cannot be served or a socket fails.
pub async fn run(config: Config, listeners: Listeners, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (drain_delay, grace) = (config.shutdown.drain_delay, config.shutdown.grace);
    let pipeline = Pipeline::new(config)?;
    let (stop, stopped) = watch::channel(false);
    let address = listeners.main.local_addr()?;
    let mut servers = vec![serve(listeners.main, http::app(pipeline.clone()), stopped.clone())];
    if let Some(admin) = listeners.admin {
        servers.push(serve(admin, http::admin(pipeline.clone()), stopped));
    }

    tokio::pin!(shutdown);
    let loading = pipeline.clone();
    let loaded = tokio::select! {
        loaded = tokio::task::spawn_blocking(move || loading.load(None)) => loaded?,
        () = &mut shutdown => return Ok(()),
    };
    if let Err(wrong) = loaded {
        let sentences: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        bail!("nothing is served:\n  {}", sentences.join("\n  "));
    }
    let models: Vec<_> = pipeline.models().iter().map(|model| model.name.clone()).collect();
    tracing::info!(%address, ?models, took_ms = begun.elapsed().as_secs_f64() * 1000.0, "ready");

    shutdown.await;
    tracing::info!(drain_delay_ms = drain_delay.as_millis(), "draining");
    pipeline.drain();
    tokio::time::sleep(drain_delay).await;
    stop.send_replace(true);
    end(servers, grace).await?;
    tokio::task::spawn_blocking(move || pipeline.close()).await?;
    tracing::info!("stopped");
    Ok(())
}

fn serve(listener: TcpListener, app: Router, mut stopped: watch::Receiver<bool>) -> JoinHandle<std::io::Result<()>> {
    // Answers are small: waiting to fill a segment would only add latency.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    });
    tokio::spawn(async move {
        tracing::debug!(address = ?listener.local_addr(), "listening");
        axum::serve(listener, app)
            .with_graceful_shutdown(async move {
                // An error means that the sender is gone, and then it is time to end, too.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            })
            .await
    })
}

async fn end(servers: Vec<JoinHandle<std::io::Result<()>>>, grace: Duration) -> anyhow::Result<()> {
    let all = async {
        for server in servers {
            server.await??;
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
