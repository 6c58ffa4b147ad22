//! A body becomes images: raw bytes, a multipart form, or base64 in JSON.

use std::{borrow::Cow, fmt::Display};

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use mime::Mime;
use serde::Deserialize;

use super::multipart;
use crate::{
    api::{
        body::{BodyLimits, Hold, Upload, refuse_compressed},
        heavy,
        problem::{Problem, kinds},
    },
    inference::Inference,
    oip::{MAX_IMAGES, base64},
};

/// The images of a body.
#[derive(Debug)]
pub(super) enum ImageBody {
    /// One image, answered by itself.
    One(Bytes),
    /// Images that are answered in a list, even if there is only one.
    Several(Vec<ImagePart>),
}

/// One of several images.
#[derive(Debug)]
pub(super) struct ImagePart {
    /// The file's name, when the client gave one.
    pub file: Option<String>,
    /// The image; a part that is too large does not cost the others their answers.
    pub bytes: Result<Bytes, Problem>,
}

/// Reads images in the way the content type says. `hold` takes memory as the body comes, and for what is made of it.
pub(super) async fn read(
    inference: &Inference,
    hold: Hold<'_>,
    headers: &HeaderMap,
    upload: &mut Upload,
) -> Result<ImageBody, Problem> {
    let limits = BodyLimits::of(inference.config());
    refuse_compressed(headers)?;
    match content_kind(headers)? {
        ContentKind::Raw => {
            let bytes = upload.read(limits.image, limits.pace, hold).await?;
            if bytes.is_empty() {
                return Err(Problem::bad_body("the body is empty; send the bytes of a picture"));
            }
            Ok(ImageBody::One(bytes))
        }
        ContentKind::Form { boundary } => multipart::read(upload, boundary, limits, hold).await.map(ImageBody::Several),
        ContentKind::Json => {
            let body = upload.read(limits.json(), limits.pace, hold).await?;
            // The images that are decoded from it.
            hold(body.len().saturating_mul(2))?;
            heavy(inference, body.len(), move || from_json(&body, limits.image)).await
        }
    }
}

enum ContentKind {
    Raw,
    Form { boundary: String },
    Json,
}

fn content_kind(headers: &HeaderMap) -> Result<ContentKind, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(ContentKind::Raw) };
    let unsupported = || {
        let detail = format!(
            "content type {value:?} is not taken; send the picture's bytes as image/* or application/octet-stream, a \
             multipart/form-data with parts named `image`, or application/json with {{\"image\": \"<base64>\"}}"
        );
        Problem::new(&kinds::UNSUPPORTED_TYPE, detail)
    };
    let text = value.to_str().map_err(|_| unsupported())?;
    if text.is_empty() {
        return Ok(ContentKind::Raw);
    }
    let mime: Mime = text.parse().map_err(|_| unsupported())?;
    match (mime.type_().as_str(), mime.subtype().as_str()) {
        // The last one is what `curl --data-binary @photo.jpg` says when it is told nothing.
        ("image", _) | ("application", "octet-stream" | "x-www-form-urlencoded") => Ok(ContentKind::Raw),
        ("multipart", "form-data") => match mime.get_param(mime::BOUNDARY) {
            Some(boundary) => Ok(ContentKind::Form { boundary: boundary.to_string() }),
            None => Err(Problem::bad_body("the content type multipart/form-data has no boundary")),
        },
        ("application", "json") => Ok(ContentKind::Json),
        _ => Err(unsupported()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Base64Body<'a> {
    #[serde(borrow)]
    image: Option<Base64Text<'a>>,
    #[serde(borrow)]
    images: Option<Vec<Base64Text<'a>>>,
}

/// Text that stays where it is in the body, unless it has escapes, such as the `\/` of some clients.
#[derive(Deserialize)]
struct Base64Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn from_json(body: &[u8], limit: usize) -> Result<ImageBody, Problem> {
    let wants = "wanted is {\"image\": \"<base64>\"} or {\"images\": [\"<base64>\", …]}";
    let refuse = |error: &dyn Display| Problem::bad_body(format!("the JSON cannot be read: {error}; {wants}"));
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed: Base64Body<'_> = serde_path_to_error::deserialize(&mut json).map_err(|error| refuse(&error))?;
    json.end().map_err(|error| refuse(&error))?;
    match (parsed.image, parsed.images) {
        (Some(image), None) => Ok(ImageBody::One(base64::decode_image("image", &image.0, limit)?)),
        (None, Some(images)) if (1..=MAX_IMAGES).contains(&images.len()) => {
            let part = |(i, text): (usize, &Base64Text<'_>)| ImagePart {
                file: None,
                bytes: base64::decode_image(&format!("images[{i}]"), &text.0, limit).map_err(Problem::from),
            };
            Ok(ImageBody::Several(images.iter().enumerate().map(part).collect()))
        }
        (None, Some(images)) => {
            Err(Problem::bad_body(format!("`images` has {} pictures; send 1 to {MAX_IMAGES}", images.len())))
        }
        (Some(_), Some(_)) => Err(Problem::bad_body(format!("the JSON has both `image` and `images`; {wants}"))),
        (None, None) => Err(Problem::bad_body(format!("the JSON has no `image`; {wants}"))),
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
        let inference = Inference::new(layers.and_then(|l| l.build()).expect("valid")).expect("metrics");
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("utf-8");
        match read(&inference, &|_| Ok(()), &headers, &mut upload).await {
            Ok(ImageBody::One(bytes)) => Ok(vec![Ok(text(bytes))]),
            Ok(ImageBody::Several(parts)) => Ok(parts
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
    async fn forms_have_a_part_for_each_image() {
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
