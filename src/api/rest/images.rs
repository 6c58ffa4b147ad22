//! A body → pictures: raw bytes, a multipart form, or base64 in JSON.

use std::fmt::Display;

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use base64::{
    Engine, alphabet::STANDARD, engine::DecodePaddingMode, engine::GeneralPurpose, engine::GeneralPurposeConfig,
};
use mime::Mime;
use serde::Deserialize;

use super::{
    body::{Limits, Upload, too_large},
    heavy, kinds, multipart,
    problem::Problem,
};
use crate::inference::{Permit, Pipeline};

/// The most pictures in one request.
pub(super) const MOST: usize = 64;

/// Base64 with or without its trailing `=`.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a body held.
#[derive(Debug)]
pub(super) enum Pictures {
    /// One picture, answered by itself.
    One(Bytes),
    /// Pictures that are answered in a list, even if there is only one.
    Many(Vec<Part>),
}

/// One of many pictures.
#[derive(Debug)]
pub(super) struct Part {
    /// The file's name, when the client gave one.
    pub file: Option<String>,
    /// The picture; a part that is too large does not cost the others their answers.
    pub bytes: Result<Bytes, Problem>,
}

/// Reads pictures in the way the content type says.
pub(super) async fn read(
    pipeline: &Pipeline,
    permit: &mut Permit,
    headers: &HeaderMap,
    upload: &mut Upload,
) -> Result<Pictures, Problem> {
    let limits = Limits::of(pipeline.config());
    refuse_compressed(headers)?;
    match kind_of(headers)? {
        BodyKind::Raw => {
            permit.hold(upload.expected(limits.picture))?;
            let bytes = upload.read(limits.picture, limits.time).await?;
            if bytes.is_empty() {
                return Err(Problem::bad_body("the body is empty; send the bytes of a picture"));
            }
            Ok(Pictures::One(bytes))
        }
        BodyKind::Form { boundary } => {
            permit.hold(upload.expected(limits.multipart()))?;
            multipart::read(upload, boundary, limits).await.map(Pictures::Many)
        }
        BodyKind::Json => {
            permit.hold(upload.expected(limits.json()))?;
            let body = upload.read(limits.json(), limits.time).await?;
            heavy(pipeline, body.len(), move || from_json(&body, limits.picture)).await
        }
    }
}

/// Refuses bodies that would have to be unpacked first.
pub(super) fn refuse_compressed(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            let detail = format!("content-encoding {encoding:?} is not taken; send the body as it is");
            Err(Problem::new(&kinds::UNSUPPORTED_TYPE, detail))
        }
        _ => Ok(()),
    }
}

enum BodyKind {
    Raw,
    Form { boundary: String },
    Json,
}

fn kind_of(headers: &HeaderMap) -> Result<BodyKind, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(BodyKind::Raw) };
    let unsupported = || {
        let detail = format!(
            "content type {value:?} is not taken; send the picture's bytes as image/* or application/octet-stream, a \
             multipart/form-data with parts named `image`, or application/json with {{\"image\": \"<base64>\"}}"
        );
        Problem::new(&kinds::UNSUPPORTED_TYPE, detail)
    };
    let text = value.to_str().map_err(|_| unsupported())?;
    if text.is_empty() {
        return Ok(BodyKind::Raw);
    }
    let mime: Mime = text.parse().map_err(|_| unsupported())?;
    match (mime.type_().as_str(), mime.subtype().as_str()) {
        // The last one is what `curl --data-binary @photo.jpg` says when it is told nothing.
        ("image", _) | ("application", "octet-stream" | "x-www-form-urlencoded") => Ok(BodyKind::Raw),
        ("multipart", "form-data") => match mime.get_param(mime::BOUNDARY) {
            Some(boundary) => Ok(BodyKind::Form { boundary: boundary.to_string() }),
            None => Err(Problem::bad_body("the content type multipart/form-data has no boundary")),
        },
        ("application", "json") => Ok(BodyKind::Json),
        _ => Err(unsupported()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Base64Body {
    image: Option<String>,
    images: Option<Vec<String>>,
}

fn from_json(body: &[u8], limit: usize) -> Result<Pictures, Problem> {
    let wants = "wanted is {\"image\": \"<base64>\"} or {\"images\": [\"<base64>\", …]}";
    let refuse = |error: &dyn Display| Problem::bad_body(format!("the JSON cannot be read: {error}; {wants}"));
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed: Base64Body = serde_path_to_error::deserialize(&mut json).map_err(|error| refuse(&error))?;
    json.end().map_err(|error| refuse(&error))?;
    match (parsed.image, parsed.images) {
        (Some(image), None) => from_base64("image", &image, limit).map(Pictures::One),
        (None, Some(images)) if (1..=MOST).contains(&images.len()) => {
            let part = |(i, text): (usize, &String)| Part {
                file: None,
                bytes: from_base64(&format!("images[{i}]"), text, limit),
            };
            Ok(Pictures::Many(images.iter().enumerate().map(part).collect()))
        }
        (None, Some(images)) => {
            Err(Problem::bad_body(format!("`images` has {} pictures; send 1 to {MOST}", images.len())))
        }
        (Some(_), Some(_)) => Err(Problem::bad_body(format!("the JSON has both `image` and `images`; {wants}"))),
        (None, None) => Err(Problem::bad_body(format!("the JSON has no `image`; {wants}"))),
    }
}

/// The bytes of a picture in base64, with or without a `data:` prefix, line breaks or padding.
pub(super) fn from_base64(name: &str, text: &str, limit: usize) -> Result<Bytes, Problem> {
    let text = match text.strip_prefix("data:") {
        None => text,
        Some(url) => match url.split_once(";base64,") {
            Some((_, data)) => data,
            None => return Err(Problem::bad_body(format!("`{name}`: the data: URL is not base64"))),
        },
    };
    let decoded = if text.bytes().any(|b| b.is_ascii_whitespace()) {
        BASE64.decode(text.split_ascii_whitespace().collect::<String>())
    } else {
        BASE64.decode(text)
    };
    let bytes = decoded.map_err(|error| Problem::bad_body(format!("`{name}`: not base64: {error}")))?;
    match bytes.len() {
        0 => Err(Problem::bad_body(format!("`{name}`: is empty; send the bytes of a picture"))),
        n if n > limit => Err(too_large(&format!("`{name}` has {n} bytes"), limit)),
        _ => Ok(bytes.into()),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::config::Layers;

    async fn body(content_type: &str, body: &str) -> Result<Vec<Result<String, String>>, (u16, String)> {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, content_type.parse().expect("header"));
        }
        let mut upload = Upload::new(&headers, Body::from(body.to_owned()));
        let layers = Layers::defaults().and_then(|l| l.flag("test", "pictures.max_bytes", "8"));
        let pipeline = Pipeline::new(layers.and_then(|l| l.build()).expect("valid")).expect("metrics");
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("utf-8");
        match read(&pipeline, &mut Permit::for_tests(), &headers, &mut upload).await {
            Ok(Pictures::One(bytes)) => Ok(vec![Ok(text(bytes))]),
            Ok(Pictures::Many(parts)) => Ok(parts
                .into_iter()
                .map(|part| {
                    part.bytes.map(|b| format!("{}={}", part.file.unwrap_or_default(), text(b))).map_err(|p| p.detail)
                })
                .collect()),
            Err(problem) => Err((problem.status().as_u16(), problem.detail)),
        }
    }

    #[tokio::test]
    async fn raw_bytes_come_under_many_names() {
        for name in
            ["", "image/jpeg", "image/x-whatever", "application/octet-stream", "application/x-www-form-urlencoded"]
        {
            assert_eq!(body(name, "photo").await, Ok(vec![Ok("photo".into())]), "{name}");
        }
        assert_eq!(body("image/png", "").await.expect_err("empty").0, 400);
        for other in ["text/plain", "video/mp4", "nonsense"] {
            assert_eq!(body(other, "photo").await.expect_err("other").0, 415, "{other}");
        }
    }

    #[tokio::test]
    async fn base64_comes_in_json() {
        let json = |text: &'static str| body("application/json; charset=utf-8", text);
        assert_eq!(json(r#"{"image":"cGhvdG8="}"#).await, Ok(vec![Ok("photo".into())]));
        assert_eq!(json(r#"{"image":"cGhv\ndG8"}"#).await, Ok(vec![Ok("photo".into())]));
        assert_eq!(json(r#"{"image":"data:image/png;base64,cGhvdG8="}"#).await, Ok(vec![Ok("photo".into())]));
        let many = json(r#"{"images":["cGhvdG8=","?","cGhvdG9ncmFwaA=="]}"#).await.expect("many");
        insta::assert_debug_snapshot!(many, @r#"
        [
            Ok(
                "=photo",
            ),
            Err(
                "`images[1]`: not base64: Invalid symbol 63, offset 0.",
            ),
            Err(
                "`images[2]` has 10 bytes, more than the limit of 8; OUNCE_PICTURES__MAX_BYTES sets it",
            ),
        ]
        "#);
    }

    #[tokio::test]
    async fn other_json_is_refused_with_its_place() {
        let refusal = async |text: &'static str| body("application/json", text).await.expect_err("refused");
        insta::assert_snapshot!(refusal(r#"{"image":5}"#).await.1, @r#"the JSON cannot be read: image: invalid type: integer `5`, expected a string at line 1 column 10; wanted is {"image": "<base64>"} or {"images": ["<base64>", …]}"#);
        insta::assert_snapshot!(refusal(r#"{"picture":"x"}"#).await.1, @r#"the JSON cannot be read: picture: unknown field `picture`, expected `image` or `images` at line 1 column 10; wanted is {"image": "<base64>"} or {"images": ["<base64>", …]}"#);
        insta::assert_snapshot!(refusal("{}").await.1, @r#"the JSON has no `image`; wanted is {"image": "<base64>"} or {"images": ["<base64>", …]}"#);
        insta::assert_snapshot!(refusal(r#"{"images":[]}"#).await.1, @"`images` has 0 pictures; send 1 to 64");
        insta::assert_snapshot!(refusal(r#"{"image":"x"} {}"#).await.1, @r#"the JSON cannot be read: trailing characters at line 1 column 15; wanted is {"image": "<base64>"} or {"images": ["<base64>", …]}"#);
        assert_eq!(refusal("[").await.0, 400);
    }

    #[tokio::test]
    async fn forms_have_a_part_a_picture() {
        let part = |name: &str, file: &str, data: &str| {
            let file = if file.is_empty() { String::new() } else { format!("; filename=\"{file}\"") };
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{data}\r\n")
        };
        let form =
            async |parts: &[String], end: &str| body("multipart/form-data; boundary=b", &(parts.concat() + end)).await;
        let good = [
            part("image", "a.jpg", "one"),
            part("file", "", "two"),
            part("images", "c", "far too large"),
            part("image", "", ""),
        ];
        insta::assert_debug_snapshot!(form(&good, "--b--\r\n").await.expect("read"), @r#"
        [
            Ok(
                "a.jpg=one",
            ),
            Ok(
                "=two",
            ),
            Err(
                "the part has 13 bytes, more than the limit of 8; OUNCE_PICTURES__MAX_BYTES sets it",
            ),
            Err(
                "the part is empty; send the bytes of a picture",
            ),
        ]
        "#);
        insta::assert_snapshot!(form(&[part("imgae", "", "x")], "--b--").await.expect_err("name").1, @"the form has a part named `imgae`; did you mean `image`?; pictures are parts named `image`, parameters go into the query");
        insta::assert_snapshot!(form(&[], "--b--").await.expect_err("no parts").1, @"the form has no part; send a picture as a part named `image`");
        insta::assert_snapshot!(form(&[part("image", "", "x")], "").await.expect_err("torn").1, @r#"the multipart form cannot be read: field "image" received with incomplete data"#);
        insta::assert_snapshot!(form(&vec![good[0].clone(); 65], "--b--").await.expect_err("many").1, @"the form has more than 64 pictures");
        assert_eq!(form(&[part("image", "", &"0".repeat(70_000))], "--b--").await.expect_err("all").0, 413);
        assert_eq!(body("multipart/form-data", "x").await.expect_err("no boundary").0, 400);
    }
}
