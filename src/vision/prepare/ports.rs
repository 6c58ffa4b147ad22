//! Finds out which of a graph's inputs takes the image, and which one its size.

use crate::{
    manifest::{InputSpec, Layout},
    vision::tensor::{ElementType, Port, in_words},
};

/// The input that takes the image.
#[derive(Debug, Clone)]
pub(super) struct ImagePort {
    /// Its place among the inputs.
    pub(super) index: usize,
    pub(super) element: ElementType,
    pub(super) layout: Layout,
    /// 3 for colours, 1 for grey.
    pub(super) channels: usize,
    /// Width and height.
    pub(super) size: (u32, u32),
}

/// The input that takes the image's size.
#[derive(Debug, Clone)]
pub(super) struct SizeInput {
    /// Its place among the inputs.
    pub(super) index: usize,
    pub(super) element: ElementType,
    /// The number of its axes: 1 (`[2]`) or 2 (`[N, 2]`).
    pub(super) rank: usize,
}

pub(super) fn find(spec: &InputSpec, inputs: &[Port]) -> Result<(ImagePort, Option<SizeInput>), String> {
    let mut images = inputs.iter().enumerate().filter(|(_, port)| port.shape.len() == 4);
    let (index, port) = match (images.next(), images.next()) {
        (Some(only), None) => only,
        (None, _) => return Err(format!("no input takes a picture; {}", wanted(inputs))),
        (Some(_), Some(_)) => return Err(format!("two inputs could take the picture; {}", wanted(inputs))),
    };
    let image = image_input(spec, index, port)?;
    let mut size = None;
    for (index, port) in inputs.iter().enumerate().filter(|(index, _)| *index != image.index) {
        let found = size_input(spec, index, port)
            .ok_or_else(|| format!("nothing to feed the input {port} with; {}", wanted(inputs)))?;
        if size.replace(found).is_some() {
            return Err(format!(
                "two inputs could take the picture's size: name one in input.size_input; {}",
                wanted(inputs)
            ));
        }
    }
    match (&spec.size_input, &size) {
        (Some(name), None) => Err(format!("input.size_input names {name}, which is no input; {}", wanted(inputs))),
        _ => Ok((image, size)),
    }
}

fn wanted(inputs: &[Port]) -> String {
    let seen = in_words(inputs);
    format!(
        "wanted: one picture input [N, 3 or 1, H, W] or [N, H, W, 3 or 1] and at most one input [N, 2] for the \
         picture's size; the graph has: {seen}"
    )
}

fn image_input(spec: &InputSpec, index: usize, port: &Port) -> Result<ImagePort, String> {
    let &[batch, one, two, three] = port.shape.as_slice() else {
        return Err(format!("the picture input {port} does not have four axes"));
    };
    if let Some(batch) = batch.filter(|&n| n != 1) {
        return Err(format!("the picture input {port} has a fixed batch of {batch}; wanted: a free batch axis, or 1"));
    }
    if !matches!(port.element, ElementType::F32 | ElementType::F16 | ElementType::U8 | ElementType::I8) {
        return Err(format!(
            "the picture input {port} holds {}; wanted: f32, f16, u8 or i8",
            port.element.short_name()
        ));
    }
    let colours = |dim: Option<usize>| dim.filter(|n| matches!(n, 1 | 3));
    let layout = match spec.layout {
        Some(layout) => layout,
        None if one == Some(3) && three == Some(3) => {
            return Err(format!("the picture input {port} may be nchw or nhwc: say which in input.layout"));
        }
        None if one == Some(3) => Layout::Nchw,
        None if three == Some(3) => Layout::Nhwc,
        None if one == Some(1) => Layout::Nchw,
        None if three == Some(1) => Layout::Nhwc,
        None => {
            return Err(format!(
                "the picture input {port} shows no colour channels; wanted: [N, 3 or 1, H, W] or [N, H, W, 3 or 1], or \
                 input.layout where they are free"
            ));
        }
    };
    let (channel_dim, height, width) = match layout {
        Layout::Nchw => (one, two, three),
        Layout::Nhwc => (three, one, two),
    };
    let channels = match channel_dim {
        None => 3,
        dim => colours(dim).ok_or_else(|| {
            format!("the picture input {port} does not have 3 or 1 channels where input.layout puts them")
        })?,
    };
    let [given_width, given_height] = spec.size.map_or([None; 2], |size| size.map(|side| Some(side.get())));
    let size = (side(port, "width", width, given_width)?, side(port, "height", height, given_height)?);
    Ok(ImagePort { index, element: port.element, layout, channels, size })
}

/// The length of a side: what the graph says, or the manifest where the graph leaves the side free.
fn side(port: &Port, name: &str, graph: Option<usize>, manifest: Option<u32>) -> Result<u32, String> {
    /// Longer sides are taken for a mistake: such an input alone would take gigabytes.
    const LONGEST: u32 = 16_384;
    let side = match (graph, manifest) {
        (Some(graph), Some(manifest)) if u32::try_from(graph) != Ok(manifest) => {
            return Err(format!(
                "input.size says {name} {manifest}, but the picture input {port} has {graph}: leave it out"
            ));
        }
        (Some(graph), _) => u32::try_from(graph).unwrap_or(u32::MAX),
        (None, Some(manifest)) => manifest,
        (None, None) => {
            return Err(format!("the picture input {port} leaves its {name} free: give input.size = [width, height]"));
        }
    };
    if (1..=LONGEST).contains(&side) {
        Ok(side)
    } else {
        Err(format!("the picture input {port} has {name} {side}; wanted: 1 to {LONGEST}"))
    }
}

fn size_input(spec: &InputSpec, index: usize, port: &Port) -> Option<SizeInput> {
    let named = spec.size_input.as_ref().is_none_or(|name| *name == port.name);
    let kind = matches!(port.element, ElementType::I64 | ElementType::I32 | ElementType::F32);
    let shape = match port.shape.as_slice() {
        [two] => two.is_none_or(|n| n == 2),
        [batch, two] => batch.is_none_or(|n| n == 1) && two.is_none_or(|n| n == 2),
        _ => false,
    };
    (named && kind && shape).then_some(SizeInput { index, element: port.element, rank: port.shape.len() })
}
