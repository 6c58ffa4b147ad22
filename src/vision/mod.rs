//! Picture work, pure: bytes → pixels → tensor, and a graph's outputs → boxes or classes. No tokio, no axum, no ort.

pub mod tensor;
