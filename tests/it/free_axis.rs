//! Public models come with one image a run. Where their graphs can do more, they do more here, with the same results.

use serde_json::{Value, json};

use crate::harness::{Server, only, root, shared};

tests![a_fixed_batch_axis_is_freed_where_results_stay_the_same, what_a_graph_declares_is_tried_before_it_is_believed];

/// The shipped file says one image a run, and the graph is known to do more.
const MUST_BE_FREED: [&str; 3] = ["person-192", "nanodet", "yolox-nano"];

/// Runs `rows` through a model, and gives each output's numbers.
async fn infer(server: &Server, model: &str, input: &Value, rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut shape = input["shape"].as_array().expect("a shape").clone();
    shape[0] = json!(rows.len());
    let bytes: Vec<u8> = rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = json!({"name": input["name"], "datatype": "FP32", "shape": shape,
        "parameters": {"binary_data_size": bytes.len()}});
    let head = json!({"inputs": [tensor], "parameters": {"binary_data_output": true}}).to_string();
    let request = server.client.post(format!("{}/v2/models/{model}/infer", server.url));
    let request = request.header("inference-header-content-length", head.len());
    let response = request.body([head.into_bytes(), bytes].concat()).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{model}: {}", response.text().await.expect("text"));
    let length = response.headers()["inference-header-content-length"].to_str().expect("text").parse::<usize>();
    let body = response.bytes().await.expect("a body");
    let (head, mut data) = body.split_at(length.expect("a number"));
    let head: Value = serde_json::from_slice(head).expect("JSON");
    let outputs = head["outputs"].as_array().expect("outputs").iter();
    outputs
        .map(|output| {
            let (mine, rest) =
                data.split_at(output["parameters"]["binary_data_size"].as_u64().expect("a size") as usize);
            data = rest;
            mine.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect()
        })
        .collect()
}

async fn a_fixed_batch_axis_is_freed_where_results_stay_the_same() {
    // Most of the models are links to there.
    shared("models");
    let server = Server::start(&root().join("tests/models"), &[]).await;
    println!("model | batch axis | three images in one run against each alone, worst difference | why not");
    let mut freed = Vec::new();
    let (_, all) = server.get("/v1/models").await;
    for model in all["models"].as_array().expect("models") {
        let name = model["name"].as_str().expect("a name");
        let (variant, mut input) = (&model["variants"][0], model["inputs"][0].clone());
        // Free sides are those that the manifest names: height, then width.
        for (dim, side) in [(2, 1), (3, 0)] {
            if input["shape"][dim] == -1 {
                input["shape"][dim] = model["input"]["size"][side].clone();
            }
        }
        let axis = variant["batch_axis"].as_str().expect("an axis");
        let mut worst: Option<f32> = None;
        if axis == "freed" && input["datatype"] == "FP32" {
            let dims = input["shape"].as_array().expect("a shape").iter().skip(1);
            let elements: u64 = dims.map(|dim| dim.as_u64().expect("a number")).product();
            let rows = [1u32, 2, 3].map(|seed| noise(seed, elements as usize));
            let together = infer(&server, name, &input, &rows).await;
            let mut most = 0.0f32;
            for (place, row) in rows.iter().enumerate() {
                let alone = infer(&server, name, &input, std::slice::from_ref(row)).await;
                for (all, one) in together.iter().zip(&alone) {
                    assert_eq!(all.len(), 3 * one.len(), "{name}");
                    let mine = &all[place * one.len()..][..one.len()];
                    let apart = mine.iter().zip(one).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
                    most = apart.fold(most, f32::max);
                }
            }
            assert!(most <= 1e-4, "{name}: {most}");
            worst = Some(most);
        }
        let worst = worst.map_or_else(|| "-".to_owned(), |worst| format!("{worst:.1e}"));
        println!("{name} | {axis} | {worst} | {}", variant["why_fixed"].as_str().unwrap_or(""));
        if axis == "freed" {
            freed.push(name.to_owned());
        }
    }
    for name in MUST_BE_FREED {
        assert!(freed.iter().any(|freed| freed == name), "{name} is among {freed:?}");
    }
}

/// Numbers from 0 to 255 in patches, since networks answer white noise with much the same whatever it is.
fn noise(seed: u32, elements: usize) -> Vec<f32> {
    let patch = |index: usize| ((index as u32 / 64) ^ (seed << 20)).wrapping_mul(2_654_435_761) >> 24;
    (0..elements).map(|index| patch(index) as f32).collect()
}

async fn what_a_graph_declares_is_tried_before_it_is_believed() {
    let models = only(&["free-in-name-only", "fixed-in-name-only"]);
    let server = Server::start(models.path(), &[]).await;
    let variant = async |name: &str| server.get(&format!("/v1/models/{name}")).await.1["variants"][0].clone();
    let free = variant("free-in-name-only").await;
    assert_eq!((&free["batch_axis"], &free["max_batch"]), (&json!("fixed"), &json!(1)));
    let why = free["why_fixed"].as_str().expect("a reason");
    assert!(why.starts_with("the graph declares a free batch axis, but output 0 of a batch differs by "), "{why}");
    let fixed = variant("fixed-in-name-only").await;
    assert_eq!((&fixed["batch_axis"], &fixed["max_batch"]), (&json!("freed"), &json!(32)));

    let (_, metadata) = server.get("/v2/models/fixed-in-name-only").await;
    let [dark, bright] = [vec![0.25; 192], vec![0.75; 192]];
    let answers = infer(&server, "fixed-in-name-only", &metadata["inputs"][0], &[dark, bright]).await;
    assert_eq!(answers, [[0.25, 0.75]]);
}
