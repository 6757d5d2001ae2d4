//! Certificates that change while calls go on.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;

use super::super::{Limits, Mode};
use super::with_certificate;
use crate::{
    authority::Authority,
    fixture::{Failure, HOUR, Mesh, agent, call, connect, presents, request, soon, start, write},
};

/// Calls on fresh connections until told to stop; says how many went well.
async fn keep_calling(
    address: std::net::SocketAddr,
    config: Arc<ClientConfig>,
    stop: tokio_util::sync::CancellationToken,
) -> Result<u64, Failure> {
    let mut calls = 0;
    while !stop.is_cancelled() {
        call(address, config.clone(), &[]).await?;
        calls += 1;
    }
    Ok(calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_rotations_on_both_sides_fail_no_call() {
    const ROTATIONS: u64 = 200;
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let running = start(Mode::Mtls(server.clone()), Limits::default()).await;
    let (config, stop) = (
        client.client_config(agent("server")),
        tokio_util::sync::CancellationToken::new(),
    );
    let callers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(keep_calling(running.address, config.clone(), stop.clone())))
        .collect();
    let rotated = tokio::task::spawn_blocking({
        let (server, client) = (server.clone(), client.clone());
        move || {
            for _ in 0..ROTATIONS {
                for (name, identity) in [("server", &server), ("client", &client)] {
                    mesh.authority
                        .issue_to(&mesh.folder(name), &agent(name), HOUR)
                        .unwrap();
                    assert!(identity.reload().unwrap());
                }
            }
            mesh
        }
    });
    let _mesh = rotated.await.unwrap();
    stop.cancel();
    for caller in callers {
        assert!(caller.await.unwrap().unwrap() > 0);
    }
    assert_eq!(
        (server.status().reloads, client.status().reloads),
        (ROTATIONS, ROTATIONS)
    );
    assert_eq!((server.status().failures, client.status().failures), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_authority_takes_over_without_a_failed_call() {
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let running = start(Mode::Mtls(server.clone()), Limits::default()).await;
    let config = client.client_config(agent("server"));
    let stop = tokio_util::sync::CancellationToken::new();
    let caller = tokio::spawn(keep_calling(running.address, config.clone(), stop.clone()));

    // A connection that stays open.
    let stream = connect(running.address, config.clone()).await.unwrap();
    let (mut sender, connection) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    sender
        .send_request(request(&[]))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();

    let (old, new) = (&mesh.authority, Authority::generate("mesh.local").unwrap());
    let both = format!("{}{}", old.ca_pem(), new.ca_pem());
    let rotate = |authority: &Authority, bundle: &str| {
        for (name, identity) in [("server", &server), ("client", &client)] {
            write(
                &mesh.folder(name),
                &authority.issue(&agent(name), HOUR).unwrap(),
                bundle,
            );
            assert!(identity.reload().unwrap());
        }
    };
    rotate(old, &both);
    soon(connection).await.unwrap().unwrap();
    rotate(&new, &both);
    rotate(&new, new.ca_pem());
    call(running.address, config.clone(), &[]).await.unwrap();
    let outdated = old.issue(&agent("client"), HOUR).unwrap();
    assert!(
        call(
            running.address,
            with_certificate(&config, presents(&outdated)),
            &[]
        )
        .await
        .is_err()
    );
    stop.cancel();
    caller.await.unwrap().unwrap();
}
