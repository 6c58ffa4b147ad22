//! `ModelInfer`: one request, one answer.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    body::Bytes,
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};

use super::{
    frames::{self, Packed},
    timeout,
};
use crate::{
    api::{
        body::BodyLimits,
        client_address::client_address,
        heavy,
        middleware::request_info::RequestInfo,
        oip_rest::{ModelPath, infer::run},
        problem::Problem,
        tenant,
    },
    cost::Tenant,
    inference::{Inference, Permit},
    limits::Allowance,
    oip::{self, GrpcTarget, InferResponse, ModelInferResponse, ModelSignature},
};

/// Runs a model on tensors, or on encoded images.
pub(super) async fn infer(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let call = Call::new(inference, info, &head, received)?;
    let most = call.limits.tensors();
    let permit = call.receive()?;
    let hold = |bytes| permit.hold(bytes);
    let message = frames::read_only(&head.headers, body, most, call.limits.pace, &hold).await?;
    let answer = call.answer(message, permit, received).await;
    answer.map(|answer| frames::reply(&answer)).map_err(|refused| refused.problem)
}

/// What is known of a call before its messages.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub inference: Arc<Inference>,
    pub info: RequestInfo,
    pub tenant: Tenant,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// What its client may still ask for, where that is limited.
    pub allowance: Option<Allowance>,
    /// When the client stops waiting, by its `grpc-timeout`.
    pub ends: Option<Instant>,
    pub limits: BodyLimits,
}

/// A request that was not answered.
#[derive(Debug)]
pub(super) struct RefusedMessage {
    /// The client's name for it, as far as it could be read.
    pub id: String,
    pub problem: Problem,
}

impl Call {
    pub(super) fn new(
        inference: Arc<Inference>,
        info: RequestInfo,
        head: &Parts,
        received: Instant,
    ) -> Result<Self, Problem> {
        Ok(Self {
            tenant: tenant(&head.extensions),
            address: client_address(inference.config(), &head.extensions, &head.headers),
            allowance: head.extensions.get().cloned(),
            ends: timeout::of(&head.headers)?.map(|time| received + time),
            limits: BodyLimits::of(inference.config()),
            inference,
            info,
        })
    }

    /// One message of a stream, which counts as a request of its own.
    pub(super) fn of_message(&self) -> Result<Self, Problem> {
        let address = self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let name = self.inference.ledger().tenants.name(self.tenant);
        let allowance = self.inference.limiter().admit(name, address).map_err(|refusal| refusal.error)?;
        Ok(Self { allowance, info: self.info.of_message(), ..self.clone() })
    }

    /// Lets a message come.
    pub(super) fn receive(&self) -> Result<Permit, Problem> {
        Ok(self.inference.receive_unnamed(self.tenant, self.address)?)
    }

    /// Answers a message that has come.
    pub(super) async fn answer(
        &self,
        message: Packed,
        permit: Permit,
        received: Instant,
    ) -> Result<ModelInferResponse, RefusedMessage> {
        let nameless = |problem| RefusedMessage { id: String::new(), problem };
        let most = self.limits.tensors();
        // The tensors that it becomes take about as much again; before that, it may have to be unpacked.
        permit.hold(message.largest(most).saturating_mul(2)).map_err(|error| nameless(error.into()))?;
        let unpacked = heavy(&self.inference, message.largest(most), move || {
            let message = message.unpack(most)?;
            Ok((GrpcTarget::of(&message)?, message))
        });
        let (GrpcTarget { model, version, id }, message) = unpacked.await.map_err(nameless)?;
        permit.shrink_body(message.len().saturating_mul(2));
        let path = ModelPath::new(model, Some(version).filter(|version| !version.is_empty()));
        self.infer(&path, message, permit, received).await.map_err(|problem| RefusedMessage { id, problem })
    }

    async fn infer(
        &self,
        path: &ModelPath,
        message: Bytes,
        permit: Permit,
        received: Instant,
    ) -> Result<ModelInferResponse, Problem> {
        let model = path.find(&self.inference, &self.info)?;
        let reserved = self.inference.name(permit, Arc::clone(&model), self.tenant)?;
        let reserved = reserved.limited_by(self.allowance.as_ref());
        let max_image_bytes = self.limits.image;
        let request = heavy(&self.inference, message.len(), move || {
            let signature = ModelSignature {
                inputs: &model.info.inputs,
                outputs: &model.info.outputs,
                image_input: model.info.image_input,
                max_image_bytes,
            };
            Ok(oip::read_grpc_message(&signature, &message)?)
        })
        .await?;
        let named = [request.time_budget, self.patience(received)].into_iter().flatten().min();
        let deadline = self.inference.deadline(reserved.model(), received, named);
        let answered = run(&self.info, reserved, request, deadline).await?;
        heavy(&self.inference, answered.elements(), move || {
            let (response, id, outputs) = (&answered.response, answered.id.as_deref(), &answered.outputs);
            Ok(InferResponse::new(response, id, outputs).to_grpc_message())
        })
        .await
    }

    /// How long the client waits for the answer to what it sent at that time, if it says so.
    fn patience(&self, received: Instant) -> Option<Duration> {
        self.ends.map(|ends| ends.saturating_duration_since(received))
    }
}
