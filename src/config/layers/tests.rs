use super::*;

fn env(pairs: &[(&str, &str)]) -> Result<Layers, ConfigError> {
    Layers::defaults()?.env(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

fn sentence<T: fmt::Debug>(result: Result<T, ConfigError>) -> String {
    result.expect_err("refused").to_string()
}

#[test]
fn the_defaults_are_valid_and_agree_with_the_code() {
    let config = Config::defaults().expect("defaults.toml");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.images, crate::config::ImageLimits::default());
    assert_eq!(config.admin_listen, crate::config::AdminListen::Auto);
}

#[test]
fn a_flag_beats_a_variable_which_beats_a_file() {
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path().join("ounce.toml");
    std::fs::write(&path, "models = 'file'\n[cost]\nusd_per_hour = 1\n[log]\nfilter = 'warn'\n").expect("write");
    let layers = Layers::defaults()
        .and_then(|l| l.file(&path))
        .and_then(|l| l.env([("OUNCE_MODELS".to_owned(), "env".to_owned()), ("HOME".to_owned(), "x".to_owned())]))
        .and_then(|l| l.flag("--models", "models", "flag"))
        .expect("valid");
    let config = layers.build().expect("valid");
    assert_eq!(config.models.to_str(), Some("flag"));
    assert!((config.cost.usd_per_hour.get() - 1.0).abs() < f64::EPSILON, "an integer is a price too");
    assert_eq!(config.log.filter, "warn");
    assert!(layers.to_string().contains("# --models"), "{layers}");
}

#[test]
fn every_type_can_be_set_from_the_environment() {
    let config = env(&[
        ("OUNCE_COST__USD_PER_HOUR", "3"),
        ("OUNCE_PICTURES__MAX_BYTES", "1000"),
        ("OUNCE_THREADS__DECODE", "2"),
        ("OUNCE_RUNTIME__PROVIDERS", "cuda, cpu"),
        ("OUNCE_ADMIN_LISTEN", "127.0.0.1:9090"),
        ("OUNCE_TELEMETRY__OTLP_ENDPOINT", "http://collector:4318/"),
    ])
    .and_then(|layers| layers.build())
    .expect("valid");
    assert_eq!(config.images.max_bytes, 1000);
    assert_eq!(config.threads.decode.or(7), 2);
    assert_eq!(config.runtime.providers(), [crate::config::Provider::Cuda, crate::config::Provider::Cpu]);
    assert_eq!(config.admin_listen.address().map(|a| a.port()), Some(9090));
    let traces = config.telemetry.otlp_endpoint.map(|endpoint| endpoint.traces());
    assert_eq!(traces.as_deref(), Some("http://collector:4318/v1/traces"));
}

#[test]
fn a_misspelt_key_is_answered_with_the_right_one() {
    insta::assert_snapshot!(
        sentence(env(&[("OUNCE_COST__USD_PER_HOURS", "1")])),
        @"OUNCE_COST__USD_PER_HOURS sets `cost.usd_per_hours`, which is no setting: `cost.usd_per_hour`?"
    );
    insta::assert_snapshot!(
        sentence(env(&[("OUNCE_BANANA", "1")])),
        @"OUNCE_BANANA sets `banana`, which is no setting (`ounce serve --print-config` lists them)"
    );
}

#[test]
fn tenants_are_named_by_the_operator_and_their_keys_are_not_shown() {
    let keys = |bob: &str| {
        env(&[("OUNCE_TENANTS__ACME__API_KEYS", "k-1"), ("OUNCE_TENANTS__BOB__API_KEYS", bob)]).expect("valid")
    };
    assert!(!keys("k-2").to_string().contains("k-2") && !format!("{:?}", keys("k-2").build()).contains("k-2"));
    insta::assert_snapshot!(
        sentence(keys("k-2,k-1").build()),
        @r#"OUNCE_TENANTS__BOB__API_KEYS sets `tenants.bob.api_keys` to ["…"]: one of them is a key of `acme`, too; a request cannot be both tenants'"#
    );
    insta::assert_snapshot!(
        sentence(env(&[("OUNCE_TENANTS__ACME__APIKEYS", "1")])),
        @"OUNCE_TENANTS__ACME__APIKEYS sets `tenants.acme.apikeys`, which is no setting: `tenants.acme.api_keys`?"
    );
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path().join("ounce.toml");
    std::fs::write(&path, "[tenants.by-header]\n[model.\"*\"]\nmax_batch = 2\n").expect("write");
    let refused = sentence(Layers::defaults().and_then(|layers| layers.file(&path)));
    assert!(refused.contains("`model.*.max_batch`, which is no setting"), "{refused}");
    std::fs::write(&path, "[tenants.by-header]\n").expect("write");
    let config = Layers::defaults().and_then(|layers| layers.file(&path)).and_then(|layers| layers.build());
    assert!(config.expect("valid").tenants.contains_key("by-header"));
}

#[test]
fn a_bad_value_is_named_with_its_origin() {
    insta::assert_snapshot!(
        sentence(env(&[("OUNCE_LISTEN", "here")]).and_then(|l| l.build())),
        @r#"OUNCE_LISTEN sets `listen` to "here": invalid socket address syntax"#
    );
    insta::assert_snapshot!(
        sentence(env(&[("OUNCE_THREADS__DECODE", "0")]).and_then(|l| l.build())),
        @r#"OUNCE_THREADS__DECODE sets `threads.decode` to "0": "0" is neither a number from 1 up nor "auto""#
    );
    insta::assert_snapshot!(
        sentence(env(&[("OUNCE_COST__USD_PER_HOUR", "-1")]).and_then(|l| l.build())),
        @"OUNCE_COST__USD_PER_HOUR sets `cost.usd_per_hour` to -1.0: -1 is not from 0 up"
    );
    insta::assert_snapshot!(
        sentence(env(&[("OUNCE_RUNTIME__PROVIDERS", "cdua")]).and_then(|l| l.build())),
        @r#"OUNCE_RUNTIME__PROVIDERS sets `runtime.providers` to ["cdua"]: unknown variant `cdua`, expected one of `auto`, `tensorrt`, `cuda`, `openvino`, `cpu`"#
    );
    for endpoint in ["https://collector:4318", "collector:4318", "http://", "http://a b"] {
        let refused = sentence(env(&[("OUNCE_TELEMETRY__OTLP_ENDPOINT", endpoint)]).and_then(|l| l.build()));
        assert!(
            refused.ends_with("as in \"http://collector:4318\"; TLS is left to one beside the server"),
            "{refused}"
        );
    }
}
