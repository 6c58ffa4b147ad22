//! The `Host` header. A request over HTTP/1.1 has exactly one (RFC 9112 §3.2): with none or two, a proxy in front and this server
//! could take it for requests to different hosts.

use axum::{
    extract::Request,
    http::{Version, header},
    response::Response,
};

use super::{middleware::method_name, problem::Problem};
use crate::inference::Inference;

/// The refusal of a request whose number of `Host` headers is wrong. It is counted.
pub fn wrong_host<B>(inference: &Inference, request: &Request<B>) -> Option<Response> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let right = match request.version() {
        Version::HTTP_11 => hosts == 1,
        // HTTP/1.0 knows no hosts, and HTTP/2 has a field of its own.
        _ => hosts <= 1,
    };
    if right {
        return None;
    }
    let problem =
        Problem::bad_parameter("host", format!("there are {hosts} `Host` headers; HTTP/1.1 wants exactly one"));
    inference.metrics().responded("none", method_name(request.method()), problem.status().as_u16());
    problem.refusal().into_iter().for_each(|reason| inference.refused("", reason));
    Some(problem.render(None))
}
