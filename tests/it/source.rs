//! Our own code as the test of the rooms reads it: files, the names in their modules, and where a path leads when it is followed
//! through re-exports to what it means. Code for tests is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::visit::{self, Visit};

/// A path: `crate::a::b::C` as `["a", "b", "C"]` where it is ours, `["tokio", "spawn"]` where it is a library's.
pub(crate) type Segments = Vec<String>;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Ours(Segments),
    Library(Segments),
}

pub(crate) struct File {
    /// `inference/mod.rs`
    pub(crate) name: String,
    /// The module that it is: `["inference"]`.
    pub(crate) module: Segments,
    pub(crate) text: String,
    /// Whether it holds nothing but tests.
    pub(crate) is_test: bool,
    pub(crate) syntax: syn::File,
}

impl File {
    /// The room that it is in: the first part of its module.
    pub(crate) fn room(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }
}

/// The names in a module.
#[derive(Default)]
struct Names {
    own: BTreeSet<String>,
    imports: BTreeMap<String, Segments>,
    globs: Vec<Segments>,
}

/// All files of `src`.
pub(crate) struct Source {
    pub(crate) files: Vec<File>,
    modules: BTreeMap<Segments, Names>,
}

impl Source {
    pub(crate) fn read(folder: &Path) -> Self {
        let mut files = Vec::new();
        read(folder, "", &mut files);
        let mut modules = BTreeMap::new();
        for file in files.iter().filter(|file| !file.is_test) {
            collect(&file.module, &file.syntax.items, &mut modules);
        }
        Self { files, modules }
    }

    /// Files that do not only hold tests.
    pub(crate) fn code(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| !file.is_test)
    }

    /// What a file names, directly or through a re-export.
    pub(crate) fn known(&self, file: &File) -> BTreeSet<Place> {
        let mut paths = Paths { module: file.module.clone(), found: Vec::new() };
        paths.visit_file(&file.syntax);
        paths.found.iter().map(|(module, path)| self.resolve(module, path)).collect()
    }

    /// Where a path leads that is written in this module.
    pub(crate) fn resolve(&self, module: &[String], path: &[String]) -> Place {
        self.follow(module, path, 0)
    }

    fn follow(&self, module: &[String], path: &[String], depth: usize) -> Place {
        let (first, rest) = path.split_first().expect("no path is empty");
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, depth),
            "self" => self.walk(module.to_vec(), rest, depth),
            "super" => self.walk(parent(module), rest, depth),
            // The binary names its library like any other.
            "ounce" if module == ["main"] => self.walk(Vec::new(), rest, depth),
            // A name that leads round in a circle is the library of that name: `use image::…` in a module that has an `image`.
            name if depth < 16 && self.names(module, name) => self.walk(module.to_vec(), path, depth + 1),
            _ => Place::Library(path.to_vec()),
        }
    }

    fn names(&self, module: &[String], name: &str) -> bool {
        self.modules.get(module).is_some_and(|names| {
            names.own.contains(name)
                || names.imports.contains_key(name)
                || names.globs.iter().any(|glob| matches!(self.follow(module, glob, 16), Place::Ours(at) if at != module && self.names(&at, name)))
        })
    }

    /// Goes on from a module of ours.
    fn walk(&self, mut at: Segments, rest: &[String], depth: usize) -> Place {
        let Some((first, more)) = rest.split_first() else { return Place::Ours(at) };
        if first == "super" {
            return self.walk(parent(&at), more, depth);
        }
        let Some(names) = self.modules.get(&at) else { return Place::Ours(at) };
        if names.own.contains(first) {
            at.push(first.clone());
            // Behind a type there are its methods and variants.
            return if self.modules.contains_key(&at) { self.walk(at, more, depth) } else { Place::Ours(at) };
        }
        if let Some(import) = names.imports.get(first) {
            let whole = [import, more].concat();
            return self.follow(&at, &whole, depth + 1);
        }
        for glob in &names.globs {
            if let Place::Ours(other) = self.follow(&at, glob, depth + 1)
                && other != at
                && self.names(&other, first)
            {
                return self.walk(other, rest, depth + 1);
            }
        }
        at.push(first.clone());
        Place::Ours(at)
    }
}

fn parent(module: &[String]) -> Segments {
    module[..module.len().saturating_sub(1)].to_vec()
}

fn read(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{name}/"), files);
        } else if let Some(stem) = name.strip_suffix(".rs") {
            let text = fs::read_to_string(entry.path()).expect("text");
            let mut syntax = syn::parse_file(&text).expect("it compiles");
            without_tests(&mut syntax.items);
            let module = stem.strip_suffix("/mod").unwrap_or(stem).split('/').filter(|part| *part != "lib");
            let module = module.map(ToOwned::to_owned).collect();
            let is_test = stem.split('/').any(|part| part == "tests");
            files.push(File { name, module, text, is_test, syntax });
        }
    }
}

fn without_tests(items: &mut Vec<syn::Item>) {
    items.retain(|item| {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            _ => return true,
        };
        !attributes.iter().any(|attribute| {
            matches!(&attribute.meta, syn::Meta::List(list) if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
        })
    });
    for item in items {
        if let syn::Item::Mod(syn::ItemMod { content: Some((_, inner)), .. }) = item {
            without_tests(inner);
        }
    }
}

/// The names of a module and of those within it.
fn collect(module: &Segments, items: &[syn::Item], modules: &mut BTreeMap<Segments, Names>) {
    let mut names = Names::default();
    for item in items {
        let own = match item {
            syn::Item::Const(item) => &item.ident,
            syn::Item::Enum(item) => &item.ident,
            syn::Item::Fn(item) => &item.sig.ident,
            syn::Item::Static(item) => &item.ident,
            syn::Item::Struct(item) => &item.ident,
            syn::Item::Trait(item) => &item.ident,
            syn::Item::Type(item) => &item.ident,
            syn::Item::Union(item) => &item.ident,
            syn::Item::Mod(item) => {
                if let Some((_, inner)) = &item.content {
                    collect(&[&module[..], &[item.ident.to_string()]].concat(), inner, modules);
                }
                &item.ident
            }
            syn::Item::Use(item) => {
                for (name, path) in imports(item) {
                    match name {
                        Some(name) => drop(names.imports.insert(name, path)),
                        None => names.globs.push(path),
                    }
                }
                continue;
            }
            _ => continue,
        };
        names.own.insert(own.to_string());
    }
    modules.insert(module.clone(), names);
}

/// The names that a `use` brings, each with its path; no name for `*`.
fn imports(item: &syn::ItemUse) -> Vec<(Option<String>, Segments)> {
    fn leaves(tree: &syn::UseTree, before: &[String], found: &mut Vec<(Option<String>, Segments)>) {
        let with = |name: &syn::Ident| match name.to_string() {
            name if name == "self" && !before.is_empty() => before.to_vec(),
            name => [before, &[name]].concat(),
        };
        match tree {
            syn::UseTree::Path(path) => leaves(&path.tree, &[before, &[path.ident.to_string()]].concat(), found),
            syn::UseTree::Name(name) => found.push((with(&name.ident).last().cloned(), with(&name.ident))),
            syn::UseTree::Rename(name) => found.push((Some(name.rename.to_string()), with(&name.ident))),
            syn::UseTree::Glob(_) => found.push((None, before.to_vec())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
        }
    }
    let mut found = Vec::new();
    leaves(&item.tree, &[], &mut found);
    found
}

/// Collects every path in a file, each with the module in which it is written.
struct Paths {
    module: Segments,
    found: Vec<(Segments, Segments)>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.found.extend(imports(item).into_iter().map(|(_, path)| (self.module.clone(), path)));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.found.push((self.module.clone(), segments));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        // What a macro makes of its tokens is its own business; paths in them look like paths anywhere.
        let tokens = call.tokens.to_string().replace(" :: ", "::");
        for word in tokens.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
            let segments: Segments = word.split("::").map(ToOwned::to_owned).collect();
            if segments.len() > 1 && segments.iter().all(|segment| segment.starts_with(|c: char| c.is_alphabetic())) {
                self.found.push((self.module.clone(), segments));
            }
        }
    }
}

/// Collects what the rules about types and functions need to know of a file.
#[derive(Default)]
pub(crate) struct Items {
    pub(crate) types: Vec<String>,
    /// The types with inherent methods.
    pub(crate) impls: Vec<Vec<String>>,
    /// Functions, with the number of their arguments.
    pub(crate) functions: Vec<(String, usize)>,
    /// Methods that give back a number, a text, or some of these.
    pub(crate) getters: Vec<String>,
    /// Calls of methods: the name, and the code of what they are called on.
    pub(crate) calls: Vec<(String, String)>,
}

impl Items {
    pub(crate) fn of(file: &File) -> Self {
        let mut items = Self::default();
        items.visit_file(&file.syntax);
        items
    }
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Struct(item) => self.types.push(item.ident.to_string()),
            syn::Item::Enum(item) => self.types.push(item.ident.to_string()),
            syn::Item::Trait(item) => self.types.push(item.ident.to_string()),
            syn::Item::Type(item) => self.types.push(item.ident.to_string()),
            syn::Item::Union(item) => self.types.push(item.ident.to_string()),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none()
            && let syn::Type::Path(path) = &*item.self_ty
        {
            self.impls.push(path.path.segments.iter().map(|segment| segment.ident.to_string()).collect());
            for method in item
                .items
                .iter()
                .filter_map(|item| if let syn::ImplItem::Fn(method) = item { Some(method) } else { None })
            {
                if method.sig.receiver().is_some() && is_plain(&method.sig.output) {
                    self.getters.push(method.sig.ident.to_string());
                }
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.functions.push((signature.ident.to_string(), signature.inputs.len()));
        visit::visit_signature(self, signature);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        struct Words(String);
        impl<'ast> Visit<'ast> for Words {
            fn visit_ident(&mut self, ident: &'ast syn::Ident) {
                self.0 += &format!("{ident} ");
            }
        }
        let mut on = Words(String::new());
        on.visit_expr(&call.receiver);
        self.calls.push((call.method.to_string(), on.0));
        visit::visit_expr_method_call(self, call);
    }
}

/// Whether a method gives back what one could decide by.
fn is_plain(output: &syn::ReturnType) -> bool {
    const PLAIN: [&str; 10] = ["bool", "f64", "i64", "u32", "u64", "usize", "BTreeMap", "Option", "String", "Vec"];
    let syn::ReturnType::Type(_, of) = output else { return false };
    let syn::Type::Path(path) = &**of else { return false };
    path.path.segments.last().is_some_and(|last| PLAIN.iter().any(|plain| last.ident == plain))
}
