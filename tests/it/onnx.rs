//! Writes small ONNX files by hand, with the field numbers of `onnx.proto`.

/// A message: its fields, written one after the other.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn number(self, field: u64, value: u64) -> Self {
        self.varint(field << 3).varint(value)
    }

    fn bytes(self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let mut it = self.varint(field << 3 | 2).varint(value.len() as u64);
        it.0.extend_from_slice(value);
        it
    }

    fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }
}

const FLOAT: u64 = 1;
const INT64: u64 = 7;

fn tensor(name: &str, kind: u64, dims: &[u64], raw: &[u8]) -> Message {
    let it = dims.iter().fold(Message::default(), |it, dim| it.number(1, *dim));
    it.number(2, kind).bytes(8, name).bytes(9, raw)
}

/// An input or output; 0 is a free dimension.
fn value(name: &str, dims: &[usize]) -> Message {
    let shape = dims.iter().enumerate().fold(Message::default(), |shape, (place, &dim)| {
        let free = Message::default().bytes(2, format!("{name}{place}"));
        shape.message(1, &if dim == 0 { free } else { Message::default().number(1, dim as u64) })
    });
    let tensor = Message::default().number(1, FLOAT).message(2, &shape);
    Message::default().bytes(1, name).message(2, &Message::default().message(1, &tensor))
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: &[Message]) -> Message {
    let it = inputs.iter().fold(Message::default(), |it, input| it.bytes(1, input));
    let it = it.bytes(2, output).bytes(4, op);
    attributes.iter().fold(it, |it, attribute| it.message(5, attribute))
}

fn integer(name: &str, value: u64) -> Message {
    Message::default().bytes(1, name).number(3, value).number(20, 2)
}

fn integers(name: &str, values: &[u64]) -> Message {
    let it = Message::default().bytes(1, name);
    values.iter().fold(it, |it, value| it.number(8, *value)).number(20, 7)
}

/// A detector with the outputs of YOLOv8, `[N, 4 + 3, 1]`: one box of 16×16 around (32, 32), whose three classes' scores are the means of the three
/// channels. Its input is square, of that side, or with free sides where it is 0.
pub(crate) fn colours(side: usize, metadata: &[(&str, &str)]) -> Vec<u8> {
    let floats = |values: [f32; 4]| values.map(f32::to_le_bytes).concat();
    let nodes = [
        node("ReduceMean", &["images"], "channels", &[integers("axes", &[2, 3]), integer("keepdims", 0)]),
        node("Unsqueeze", &["channels", "two"], "scores", &[]),
        node("ReduceMean", &["scores"], "one_score", &[integers("axes", &[1]), integer("keepdims", 1)]),
        node("Mul", &["one_score", "zeros"], "no_box", &[]),
        node("Add", &["no_box", "box"], "boxes", &[]),
        node("Concat", &["boxes", "scores"], "output0", &[integer("axis", 1)]),
    ];
    let graph = nodes.iter().fold(Message::default(), |graph, node| graph.message(1, node));
    let graph = graph
        .bytes(2, "colours")
        .message(5, &tensor("two", INT64, &[1], &2i64.to_le_bytes()))
        .message(5, &tensor("zeros", FLOAT, &[1, 4, 1], &floats([0.0; 4])))
        .message(5, &tensor("box", FLOAT, &[1, 4, 1], &floats([32.0, 32.0, 16.0, 16.0])))
        .message(11, &value("images", &[0, 3, side, side]))
        .message(12, &value("output0", &[0, 7, 1]));
    let opset = Message::default().bytes(1, "").number(2, 13);
    let model = Message::default().number(1, 8).message(7, &graph).message(8, &opset);
    let entry = |(key, value): &(&str, &str)| Message::default().bytes(1, key).bytes(2, value);
    metadata.iter().fold(model, |model, pair| model.message(14, &entry(pair))).0
}
