//! One photo gives the same people, whatever form it comes in.

use crate::harness::{Server, detections, iou, only, shared};

tests![one_photo_in_every_form_shows_the_same_people];

async fn one_photo_in_every_form_shows_the_same_people() {
    let forms = shared("images/one_photo_many_formats");
    let folder = only(&["yolox-nano"]);
    let server = Server::start(folder.path(), &[]).await;
    let people = async |file: &str, min_score: f64| {
        let (status, answer) = server.image(&format!("/v1/detect?min_score={min_score}"), &forms.join(file)).await;
        assert_eq!(status, 200, "{file}: {answer}");
        let people: Vec<_> = detections(&answer).into_iter().filter(|(label, ..)| label == "person").collect();
        (people, [answer["image"]["width"].clone(), answer["image"]["height"].clone()])
    };
    let (in_colour, size) = people("v_png_rgb8.png", 0.5).await;
    // Without its colours it is another image to a network: those three forms are held to each other.
    let (in_grey, _) = people("v_png_gray8.png", 0.5).await;
    assert!(in_colour.len() > 5 && in_grey.len() > 5, "there are people in the photo");

    let mut files: Vec<_> = std::fs::read_dir(&forms).expect("a folder").flatten().collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    assert_eq!(files.len(), 27);
    println!("{:<32} {:>6} {:>9}", "form", "people", "worst IoU");
    for file in files {
        let name = file.file_name().into_string().expect("UTF-8");
        if name.ends_with(".avif") {
            let (status, problem) = server.image("/v1/detect", &forms.join(&name)).await;
            assert_eq!(status, 415, "{problem}");
            assert!(problem["detail"].as_str().is_some_and(|d| d.contains("AVIF")), "{problem}");
            println!("{name:<32} {:>6} {:>9}", "415", "-");
            continue;
        }
        let (found, found_size) = people(&name, 0.25).await;
        assert_eq!(found_size, size, "{name}: the size as a person sees it");
        let reference = if name.contains("gray") { &in_grey } else { &in_colour };
        let matches = reference.iter().map(|(_, _, wanted)| {
            found.iter().map(|(_, _, got)| iou(*wanted, *got)).max_by(f64::total_cmp).unwrap_or(0.0)
        });
        let worst = matches.min_by(f64::total_cmp).expect("people");
        println!("{name:<32} {:>6} {worst:>9.3}", found.len());
        assert!(worst >= 0.85, "{name}: a person moved, IoU {worst}");
    }
}
