//! Finds out which of a graph's outputs is which: by the manifest's names, by the usual names, by shape.

use serde::Serialize;

use crate::{
    manifest::OutputSpec,
    vision::tensor::{Port, in_words},
};

/// A graph's outputs beside what the manifest says of them.
#[derive(Debug, Clone, Copy)]
pub(in crate::tasks) struct OutputPorts<'a> {
    pub(in crate::tasks) spec: &'a OutputSpec,
    pub(in crate::tasks) outputs: &'a [Port],
}

/// Whether a shape is `wanted`, with or without a batch axis (free, or 1) in front. `None` fits anything, on both
/// sides. A shape of no axes is one the graph does not tell.
pub(in crate::tasks) fn fits(shape: &[Option<usize>], wanted: &[Option<usize>]) -> bool {
    let same = |shape: &[Option<usize>]| {
        shape.len() == wanted.len() && shape.iter().zip(wanted).all(|(a, b)| a.is_none() || b.is_none() || a == b)
    };
    match shape {
        [] => true,
        [None | Some(1), rest @ ..] if same(rest) => true,
        whole => same(whole),
    }
}

impl OutputPorts<'_> {
    /// `output.decode = "yolox" wants …; the graph has: output f32[1, 756, 6]`
    pub(in crate::tasks) fn refuse(&self, wants: &str) -> String {
        let seen = in_words(self.outputs);
        format!("output.decode = \"{}\" wants {wants}; the graph has: {seen}", word(self.spec.decode))
    }

    /// The output that the manifest names, if it names one.
    pub(in crate::tasks) fn named(&self, name: Option<&String>) -> Result<Option<usize>, String> {
        let Some(name) = name else { return Ok(None) };
        match self.outputs.iter().position(|port| port.name == *name) {
            Some(index) => Ok(Some(index)),
            None => Err(self.refuse(&format!("an output named {name}, as output.names says"))),
        }
    }

    /// The first output whose name is one of `usual` (a TensorFlow `:0` is no part of the name).
    pub(in crate::tasks) fn usual(&self, usual: &[&str]) -> Option<usize> {
        self.outputs.iter().position(|port| {
            let name = port.name.split(':').next().unwrap_or_default().to_ascii_lowercase();
            usual.contains(&name.as_str())
        })
    }

    /// The only output for which `is_it` holds.
    pub(in crate::tasks) fn only(&self, is_it: impl Fn(usize, &Port) -> bool) -> Option<usize> {
        let mut all = self.outputs.iter().enumerate().filter(|(index, port)| is_it(*index, port));
        all.next().filter(|_| all.next().is_none()).map(|(index, _)| index)
    }

    /// The output with the boxes: by the manifest, by one of the usual names, or the only one with four numbers a row.
    pub(in crate::tasks) fn boxes(&self, usual: &[&str]) -> Result<Option<usize>, String> {
        let named = self.named(self.spec.names.boxes.as_ref())?;
        Ok(named
            .or_else(|| self.usual(usual))
            .or_else(|| self.only(|_, port| port.shape.len() >= 2 && port.shape.last() == Some(&Some(4)))))
    }

    /// Whether there is an output at `index` and its shape is `wanted`.
    pub(in crate::tasks) fn fits(&self, index: usize, wanted: &[Option<usize>]) -> bool {
        self.outputs.get(index).is_some_and(|port| fits(&port.shape, wanted))
    }

    /// For decodings with a single output: the one that the manifest names as `boxes`, else the only one that fits.
    pub(in crate::tasks) fn single(&self, wanted: &[Option<usize>], wants: &str) -> Result<usize, String> {
        let named = self.named(self.spec.names.boxes.as_ref())?;
        let index = named.or_else(|| self.only(|_, port| fits(&port.shape, wanted)));
        index.filter(|&index| self.fits(index, wanted)).ok_or_else(|| self.refuse(wants))
    }
}

/// How a value of the manifest is written there.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|json| json.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_axis_may_be_there() {
        let wanted = [None, Some(4)];
        for shape in [&[Some(7), Some(4)][..], &[Some(1), Some(7), Some(4)], &[None, None, None], &[]] {
            assert!(fits(shape, &wanted), "{shape:?}");
        }
        for shape in [&[Some(7), Some(5)][..], &[Some(2), Some(7), Some(4)], &[Some(4)]] {
            assert!(!fits(shape, &wanted), "{shape:?}");
        }
    }
}
