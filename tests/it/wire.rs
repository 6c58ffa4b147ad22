//! The wire: what clients send and what they get, errors included.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::{Server, detections, photo, root};

tests![
    an_answer_has_the_documented_shape,
    a_picture_may_come_raw_in_a_form_or_in_json,
    a_client_that_accepts_pictures_gets_the_annotated_one,
    other_formats_carry_the_same_boxes,
    what_cannot_be_answered_says_why_and_what_would_be_right,
    the_description_and_the_metrics_are_served
];

async fn server() -> Server {
    Server::start(&root().join("models"), &[]).await
}

/// The keys of an object with the types of their values, nested; numbers that vary are left out.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(list) => list.first().map_or(json!([]), |first| json!([shape(first)])),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

async fn an_answer_has_the_documented_shape() {
    let server = server().await;
    let response = server.client.post(format!("{}/v1/detect?min_score=0", server.url)).body(photo()).send().await;
    let response = response.expect("an answer");
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert!(header("server-timing").starts_with("decode;dur="), "{}", header("server-timing"));
    let id = header("x-request-id");
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(answer["id"], id);
    insta::assert_json_snapshot!(shape(&answer), @r#"
    {
      "batch_size": "number",
      "cost": {
        "cpu_seconds": "number",
        "energy_joules": null,
        "usd": "number"
      },
      "detections": [
        {
          "box": {
            "x1": "number",
            "x2": "number",
            "y1": "number",
            "y2": "number"
          },
          "class_id": "number",
          "label": "text",
          "score": "number"
        }
      ],
      "id": "text",
      "image": {
        "height": "number",
        "width": "number"
      },
      "model": "text",
      "routed": {
        "reason": "text",
        "variant": "text"
      },
      "timing_ms": {
        "decode": "number",
        "inference": "number",
        "postprocess": "number",
        "preprocess": "number",
        "queue": "number",
        "total": "number"
      },
      "variant": "text",
      "version": "text"
    }
    "#);
    let (_, answer) = server.post("/v1/classify", "image/png", photo()).await;
    insta::assert_json_snapshot!(shape(&answer["classes"]), @r#"
    [
      {
        "class_id": "number",
        "label": "text",
        "score": "number"
      }
    ]
    "#);
}

async fn a_picture_may_come_raw_in_a_form_or_in_json() {
    let server = server().await;
    let url = format!("{}/v1/classify", server.url);
    let (_, raw) = server.post("/v1/classify", "image/png", photo()).await;
    // `curl --data-binary @photo.png` without a header sends this content type.
    let (status, bare) = server.post("/v1/classify", "application/x-www-form-urlencoded", photo()).await;
    assert_eq!((status, &bare["classes"]), (200, &raw["classes"]));

    use base64::Engine as _;
    let encoded = json!({"image": base64::prelude::BASE64_STANDARD.encode(photo())});
    let (status, json) = server.post("/v1/classify", "application/json", encoded.to_string().into_bytes()).await;
    assert_eq!((status, &json["classes"]), (200, &raw["classes"]));

    let part = |bytes: Vec<u8>, name: &str| Part::bytes(bytes).file_name(name.to_owned());
    let form = Form::new()
        .part("image", part(photo(), "good.png"))
        .part("image", part(b"no picture at all".to_vec(), "bad.png"))
        .part("image", part(photo(), "good too.png"));
    let response = server.client.post(url).multipart(form).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let results: Value = response.json().await.expect("JSON");
    let results = results["results"].as_array().expect("results");
    assert_eq!(results.len(), 3);
    assert_eq!([&results[0]["classes"], &results[2]["classes"]], [&raw["classes"], &raw["classes"]]);
    assert_eq!(results[1]["error"]["status"], 415, "the bad one fails alone: {results:?}");
}

async fn a_client_that_accepts_pictures_gets_the_annotated_one() {
    let server = server().await;
    for (accept, magic) in [("image/png", b"\x89PNG".as_slice()), ("image/jpeg", b"\xff\xd8\xff")] {
        let request = server.client.post(format!("{}/v1/detect", server.url)).header("accept", accept);
        let response = request.body(photo()).send().await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &accept.parse().expect("valid"))
        );
        assert!(response.bytes().await.expect("bytes").starts_with(magic));
    }
}

async fn other_formats_carry_the_same_boxes() {
    let server = server().await;
    let ask = async |format: &str| {
        server
            .post(&format!("/v1/detect?min_score=0.001&max_detections=3&format={format}"), "image/png", photo())
            .await
            .1
    };
    let (_, _, [x1, y1, x2, y2]) = detections(&ask("default").await)[0].clone();
    let number = |value: &Value| value.as_f64().expect("a number");
    let roboflow = ask("roboflow").await["predictions"][0].clone();
    assert!((number(&roboflow["x"]) - f64::midpoint(x1, x2)).abs() < 0.02, "{roboflow}");
    let ultralytics = ask("ultralytics").await;
    let first = ultralytics.as_array().map_or(&ultralytics["detections"][0], |list| &list[0]);
    assert!((number(&first["box"]["x1"]) - x1).abs() < 0.02, "{ultralytics}");
    let coco = ask("coco").await;
    assert!((number(&coco[0]["bbox"][3]) - (y2 - y1)).abs() < 0.02, "{coco}");
}

async fn what_cannot_be_answered_says_why_and_what_would_be_right() {
    let server = Server::start(&root().join("models"), &[("OUNCE_PICTURES__MAX_BYTES", "100000")]).await;
    let refused = async |path: &str, content_type: &str, body: Vec<u8>| {
        let (status, problem) = server.post(path, content_type, body).await;
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["error"], problem["detail"], "Open Inference clients read `error`");
        format!("{status} {}", problem["detail"].as_str().expect("a sentence"))
    };
    let png = photo();
    insta::assert_snapshot!(refused("/v1/detect?min_scor=0.5", "image/png", png.clone()).await, @"400 `min_scor`: there is no such parameter; did you mean `min_score`?; there are model, variant, min_score, iou, max_detections, top_k, deadline_ms, priority, format, redact, objective, min_accuracy, max_cost_usd");
    insta::assert_snapshot!(refused("/v1/detect?min_score=2", "image/png", png.clone()).await, @"400 `min_score`: `2` is not a number from 0 to 1");
    insta::assert_snapshot!(refused("/v1/detect?model=nobody", "image/png", png.clone()).await, @"404 there is no model `nobody`; there are `pedestrian`, `pedestrian-presence`");
    insta::assert_snapshot!(refused("/v1/detect?model=pedestrian-presence", "image/png", png.clone()).await, @"400 `model`: `pedestrian-presence` answers classify, not detect; ask it at /v1/classify");
    insta::assert_snapshot!(refused("/v1/detect?variant=int4", "image/png", png.clone()).await, @r#"400 `variant`: there is no variant "int4"; there are int8, fp32, fp16"#);
    insta::assert_snapshot!(refused("/v1/detect", "text/plain", b"hello".to_vec()).await, @r#"415 content type "text/plain" is not taken; send the picture's bytes as image/* or application/octet-stream, a multipart/form-data with parts named `image`, or application/json with {"image": "<base64>"}"#);
    insta::assert_snapshot!(refused("/v1/detect", "image/png", b"hello, I am a picture".to_vec()).await, @"415 the body is not a picture (it begins with 68 65 6c 6c 6f 2c 20 49); send JPEG, PNG, WebP, BMP, GIF or TIFF");
    insta::assert_snapshot!(refused("/v1/detect", "image/png", Vec::new()).await, @"400 the body is empty; send the bytes of a picture");
    insta::assert_snapshot!(refused("/v1/detect", "image/png", png[..png.len() / 2].to_vec()).await, @"422 the PNG picture cannot be decoded: unexpected end of file; check that it was sent whole and opens elsewhere");
    insta::assert_snapshot!(refused("/v1/detect", "image/png", vec![0; 100_001]).await, @"413 the body has 100001 bytes, more than the limit of 100000; OUNCE_PICTURES__MAX_BYTES sets it");
    insta::assert_snapshot!(refused("/v1/detect", "application/json", b"{\"image\": 7}".to_vec()).await, @r#"400 the JSON cannot be read: image: invalid type: integer `7`, expected a string at line 1 column 11; wanted is {"image": "<base64>"} or {"images": ["<base64>", …]}"#);
    insta::assert_snapshot!(refused("/v2/models/pedestrian/infer", "application/json", b"{\"inputs\": []}".to_vec()).await, @"400 `inputs`: input `image` is missing; model `pedestrian` takes image f32[?, 3, 224, 224]");
    let (status, problem) = server.post("/v1/models/%FF/predict", "image/png", png).await;
    assert_eq!((status, &problem["status"]), (400, &json!(400)), "{problem}");
    let (status, problem) = server.get("/v1/nothing").await;
    assert_eq!((status, &problem["status"]), (404, &json!(404)));
    let (status, problem) = server.get("/v1/detect").await;
    assert_eq!((status, &problem["status"]), (405, &json!(405)));
}

async fn the_description_and_the_metrics_are_served() {
    let server = server().await;
    server.post("/v1/detect", "image/png", photo()).await;
    let (status, openapi) = server.get("/openapi.json").await;
    assert_eq!(status, 200);
    for path in ["/v1/detect", "/v1/classify", "/v1/models", "/v1/models/{model}", "/v1/models/{model}/predict", "/v2"]
    {
        assert!(openapi["paths"].get(path).is_some(), "{path} is described");
    }
    let text = async |path: &str| {
        let response = server.client.get(format!("{}{path}", server.url)).send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("text"))
    };
    let (status, metrics) = text("/metrics").await;
    assert_eq!(status, 200);
    assert!(
        metrics.contains("ounce_requests_total{model=\"pedestrian\",outcome=\"ok\",variant=\"int8\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("ounce_stage_seconds_bucket"), "{metrics}");
    assert_eq!(text("/docs/").await.0, 200);
    assert_eq!(text("/livez").await, (200, "ok".to_owned()));
}
