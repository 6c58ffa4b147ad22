//! `ModelInfer`: one request, one answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};

use super::{
    frames::{self, Packed},
    timeout,
};
use crate::{
    api::{
        body::{BodyLimits, Upload},
        heavy,
        middleware::request_info::RequestInfo,
        oip_rest::{ModelPath, infer::run},
        problem::Problem,
        tenant,
    },
    cost::Tenant,
    inference::{Deadline, Inference},
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
    let packing = frames::packing(&head.headers)?;
    let call = Call {
        tenant: tenant(&inference, &head.headers),
        ends: timeout::of(&head.headers)?.map(|time| received + time),
        limits: BodyLimits::of(inference.config()),
        inference,
        info,
    };
    let most = call.limits.tensors();
    let body = Upload::new(&head.headers, body).read(most + frames::PREFIX, call.limits.time).await?;
    let answer = call.answer(frames::only(body, packing, most)?, received).await;
    answer.map(|answer| frames::reply(&answer)).map_err(|refused| refused.problem)
}

/// What is known of a call before its messages.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub inference: Arc<Inference>,
    pub info: RequestInfo,
    pub tenant: Tenant,
    /// When the client stops waiting, by its `grpc-timeout`.
    pub ends: Option<Instant>,
    pub limits: BodyLimits,
}

/// A request that was not answered.
#[derive(Debug)]
pub(super) struct Refused {
    /// The client's name for it, as far as it could be read.
    pub id: String,
    pub problem: Problem,
}

impl Call {
    /// Answers a message that has come.
    pub(super) async fn answer(&self, message: Packed, received: Instant) -> Result<ModelInferResponse, Refused> {
        let most = self.limits.tensors();
        let unpacked = heavy(&self.inference, message.largest(most), move || {
            let message = message.unpack(most)?;
            Ok((GrpcTarget::of(&message)?, message))
        });
        let (GrpcTarget { model, version, id }, message) =
            unpacked.await.map_err(|problem| Refused { id: String::new(), problem })?;
        let path = ModelPath::new(model, Some(version).filter(|version| !version.is_empty()));
        self.infer(&path, message, received).await.map_err(|problem| Refused { id, problem })
    }

    async fn infer(
        &self,
        path: &ModelPath,
        message: bytes::Bytes,
        received: Instant,
    ) -> Result<ModelInferResponse, Problem> {
        let model = path.find(&self.inference, &self.info)?;
        let reserved = self.inference.reserve(Arc::clone(&model), self.tenant)?;
        reserved.hold(message.len())?;
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
        let asked = request.time_budget.unwrap_or(self.inference.config().requests.deadline);
        let deadline = Deadline::after(received, asked.min(self.patience(received)));
        let answered = run(&self.info, reserved, request, deadline).await?;
        heavy(&self.inference, answered.elements(), move || {
            let (response, id, outputs) = (&answered.response, answered.id.as_deref(), &answered.outputs);
            Ok(InferResponse::new(response, id, outputs).to_grpc_message())
        })
        .await
    }

    /// How long the client waits for the answer to what it sent at that time.
    fn patience(&self, received: Instant) -> Duration {
        self.ends.map_or(Duration::MAX, |ends| ends.saturating_duration_since(received))
    }
}
