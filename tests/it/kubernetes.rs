//! The manifests render, are valid, and hold together: what one object says of another is so, and of ounce, too.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::{
    harness::{self, Server, ounce, root},
    runner::ignore,
};

tests![
    every_overlay_is_valid_by_kubernetes_schemas,
    every_overlay_passes_policies,
    selectors_find_pods_and_ports_have_names,
    an_end_may_take_as_long_as_its_parts,
    a_start_may_take_as_long_as_its_probe,
    cpus_are_whole_and_nobody_elses,
    the_autoscaler_alone_decides_by_a_metric_that_there_is,
    settings_and_keys_lie_side_by_side_and_are_not_edited_in_place,
    a_plain_cluster_needs_no_kinds_of_operators,
    a_rollout_on_gpus_needs_no_gpu_to_spare,
    the_balancer_finds_every_replica_and_may_reach_it
];

/// What `kubectl apply -k` takes, and the kind of its autoscaler.
const FOLDERS: [(&str, Option<&str>); 6] = [
    ("base", None),
    ("overlays/plain", None),
    ("overlays/balanced", Some("HorizontalPodAutoscaler")),
    ("overlays/cpu", Some("HorizontalPodAutoscaler")),
    ("overlays/gpu", Some("HorizontalPodAutoscaler")),
    ("overlays/keda", Some("ScaledObject")),
];

/// Kinds that are not Kubernetes' own, so that its schemas do not know them.
const OPERATORS: [&str; 3] = ["PrometheusRule", "ServiceMonitor", "ScaledObject"];

/// Reads YAML and prints its documents as a list in JSON.
const YAML_TO_JSON: &str = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";

/// A program that `make .checks/installed` has installed; without it, the test is ignored.
fn program(name: &str) -> Command {
    let path = root().join(".checks/bin").join(name);
    if !path.exists() {
        ignore("REQUIRE_KUBERNETES", &format!("{name} is not here (`make .checks/installed` installs it)"));
    }
    Command::new(path)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The manifests of a folder, as YAML.
fn rendered(folder: &str) -> String {
    let output = program("kubectl").args(["kustomize", folder]).current_dir(root().join("k8s")).output();
    let output = output.expect("it starts");
    assert!(output.status.success() && output.stderr.is_empty(), "{folder}: {}", text(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// What a folder puts into a cluster.
struct Cluster {
    folder: &'static str,
    objects: Vec<Value>,
}

impl Cluster {
    fn of(folder: &'static str) -> Self {
        let yaml = rendered(folder);
        let mut python =
            program("python").args(["-c", YAML_TO_JSON]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let python = python.as_mut().expect("it starts");
        python.stdin.take().expect("piped").write_all(yaml.as_bytes()).expect("written");
        let objects = serde_json::from_reader(python.stdout.take().expect("piped")).expect("JSON");
        python.wait().expect("it ends");
        Self { folder, objects }
    }

    /// The objects of a kind, but for those of a balancer in front.
    fn all(&self, kind: &str) -> Vec<&Value> {
        let labelled = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/name"] == "ounce-balancer";
        // Its ConfigMap has no label.
        let of_balancer = |object: &Value| labelled(object) || name_of(object).starts_with("ounce-balancer");
        let ours = |object: &&Value| object["kind"] == kind && !of_balancer(object);
        self.objects.iter().filter(ours).collect()
    }

    /// The objects of a kind of a balancer in front.
    fn balancer(&self, kind: &str) -> Vec<&Value> {
        let ours = self.all(kind);
        self.objects.iter().filter(|object| object["kind"] == kind && !ours.contains(object)).collect()
    }

    /// The only object of its kind.
    fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind} of {}", self.folder);
        all[0]
    }

    fn pod(&self) -> &Value {
        &self.one("Deployment")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        &self.pod()["spec"]["containers"][0]
    }

    /// The settings in force in a replica, as ounce itself reads them: `shutdown.grace_ms` and so on.
    fn settings(&self) -> toml::Table {
        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("ounce.toml");
        let config = self.one("ConfigMap");
        std::fs::write(&file, config["data"]["ounce.toml"].as_str().expect("the file")).expect("write");
        let volumes = self.pod()["spec"]["volumes"].as_array().expect("volumes");
        let volume = volumes.iter().find(|volume| volume["name"] == "config").expect("the volume");
        assert_eq!(volume["projected"]["sources"][0]["configMap"]["name"], config["metadata"]["name"]);
        let mounts = self.container()["volumeMounts"].as_array().expect("mounts");
        let mount = mounts.iter().find(|mount| mount["name"] == "config").expect("the mount");
        let path = Path::new(mount["mountPath"].as_str().expect("a path")).join("ounce.toml");
        let variables = self.container()["env"].as_array().expect("variables");
        let text_of = |variable: &Value, key: &str| variable[key].as_str().expect("text").to_owned();
        let variables: BTreeMap<_, _> = variables.iter().map(|v| (text_of(v, "name"), text_of(v, "value"))).collect();
        assert_eq!(Some(variables["OUNCE_CONFIG"].as_str()), path.to_str());
        let mut print = ounce();
        print.args(["serve", "--print-config"]).envs(self.variables_of_the_image()).envs(&variables);
        let output = print.env("OUNCE_CONFIG", &file).output().expect("it starts");
        assert!(output.status.success(), "{}: {}", self.folder, text(&output));
        String::from_utf8_lossy(&output.stdout).parse().expect("what it prints is TOML")
    }
}

impl Cluster {
    /// What the Dockerfile sets for the image that runs here, which goes before settings in a file.
    fn variables_of_the_image(&self) -> BTreeMap<String, String> {
        let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).expect("the Dockerfile");
        let stage = if self.folder.ends_with("gpu") { " AS gpu\n" } else { " AS cpu\n" };
        let (_, stage) = dockerfile.split_once(stage).expect("the stage");
        let stage = stage.split("\nFROM ").next().expect("its lines");
        let words = stage.split_whitespace().filter(|word| word.starts_with("OUNCE_"));
        words.filter_map(|word| word.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

fn clusters() -> impl Iterator<Item = (Cluster, Option<&'static str>)> {
    FOLDERS.into_iter().map(|(folder, autoscaler)| (Cluster::of(folder), autoscaler))
}

/// Whether all of these labels are among those.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().expect("a selector");
    !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value)
}

fn every_overlay_is_valid_by_kubernetes_schemas() {
    let folder = tempfile::tempdir().expect("tempdir");
    for (cluster, _) in clusters() {
        // The rest is checked where it says something of other objects, below.
        let own: Vec<_> = cluster.objects.iter().filter(|o| !OPERATORS.iter().any(|kind| o["kind"] == *kind)).collect();
        assert!(own.len() >= 8, "{}: {own:?}", cluster.folder);
        let validate = |objects: &[&Value]| {
            let file = folder.path().join("list.yaml");
            let documents: Vec<_> = objects.iter().map(ToString::to_string).collect();
            std::fs::write(&file, documents.join("\n---\n")).expect("write");
            program("kubernetes-validate").args(["--strict", "--quiet"]).arg(&file).output().expect("it starts")
        };
        let output = validate(&own);
        assert!(output.status.success(), "{}: {}", cluster.folder, text(&output));

        let mut misspelt = cluster.one("Deployment").clone();
        misspelt["spec"]["template"]["spec"]["terminationGracePeriod"] = 60.into();
        assert!(!validate(&[&misspelt]).status.success(), "it would pass anything");
    }
}

fn every_overlay_passes_policies() {
    let folder = tempfile::tempdir().expect("tempdir");
    for (name, _) in FOLDERS {
        let (yaml, mut checkov) = (rendered(name), program("checkov"));
        let file = folder.path().join("all.yaml");
        std::fs::write(&file, yaml).expect("write");
        checkov.args(["--skip-download", "--framework", "kubernetes", "--compact", "--output", "json", "--file"]);
        let output = checkov.arg(&file).output().expect("it starts");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        let failed = report["results"]["failed_checks"].as_array().expect("a list");
        let failed: Vec<_> = failed.iter().map(|check| [&check["check_id"], &check["check_name"]]).collect();
        assert!(failed.is_empty(), "{name}: {failed:?}");
        // Each of these is an annotation of the Deployment, with its reason.
        let deployments = if name.ends_with("balanced") { 2 } else { 1 };
        assert_eq!(report["summary"]["skipped"], 2 * deployments, "{name}: {}", report["summary"]);
        assert!(report["summary"]["passed"].as_u64() > Some(50), "{name}: {}", report["summary"]);
    }
}

fn selectors_find_pods_and_ports_have_names() {
    for (cluster, _) in clusters() {
        let (folder, labels) = (cluster.folder, &cluster.pod()["metadata"]["labels"]);
        let ports = cluster.container()["ports"].as_array().expect("ports");
        let port = |name: &Value| ports.iter().find(|port| port["name"] == *name).map(|port| &port["containerPort"]);
        let settings = cluster.settings();
        for (setting, name) in [("listen", "http"), ("admin_listen", "admin")] {
            let number = port(&name.into()).expect("the container has it");
            assert_eq!(settings[setting].as_str(), Some(format!("0.0.0.0:{number}").as_str()), "{folder}");
        }

        let services = cluster.all("Service");
        for service in &services {
            assert!(selects(&service["spec"]["selector"], labels), "{folder}: {service}");
            assert!(port(&service["spec"]["ports"][0]["targetPort"]).is_some(), "{folder}: {service}");
        }
        for kind in ["Deployment", "PodDisruptionBudget"] {
            assert!(selects(&cluster.one(kind)["spec"]["selector"]["matchLabels"], labels), "{folder}: {kind}");
        }
        for spread in cluster.pod()["spec"]["topologySpreadConstraints"].as_array().expect("two") {
            assert!(selects(&spread["labelSelector"]["matchLabels"], labels), "{folder}: {spread}");
        }

        // Prometheus finds the admin port, and nobody else may.
        for monitor in cluster.all("ServiceMonitor") {
            let monitor = &monitor["spec"];
            let scraped =
                services.iter().filter(|s| selects(&monitor["selector"]["matchLabels"], &s["metadata"]["labels"]));
            let scraped: Vec<_> = scraped.map(|service| &service["spec"]["ports"][0]["name"]).collect();
            assert_eq!(scraped, [&monitor["endpoints"][0]["port"]], "{folder}");
            assert_eq!(monitor["endpoints"][0]["port"], "admin");
        }
        let policy = &cluster.one("NetworkPolicy")["spec"];
        assert!(selects(&policy["podSelector"]["matchLabels"], labels), "{folder}");
        for rule in policy["ingress"].as_array().expect("rules") {
            let admin = rule["ports"].as_array().expect("ports").iter().any(|port| port["port"] != "http");
            assert_eq!(admin, rule["from"][0]["namespaceSelector"].is_object(), "{folder}: {rule}");
        }
    }
}

fn an_end_may_take_as_long_as_its_parts() {
    for (cluster, _) in clusters() {
        let shutdown = &cluster.settings()["shutdown"];
        let seconds = |setting: &str| shutdown[setting].as_integer().expect("milliseconds") as f64 / 1000.0;
        let pre_stop = cluster.container()["lifecycle"]["preStop"]["sleep"]["seconds"].as_f64().expect("a sleep");
        let (drain_delay, grace) = (seconds("drain_delay_ms"), seconds("grace_ms"));
        let before_kill = cluster.pod()["spec"]["terminationGracePeriodSeconds"].as_f64().expect("a time");
        // The last five are for the traces that wait.
        assert!(before_kill > pre_stop + drain_delay + grace + 5.0, "{}", cluster.folder);
        let readiness = &cluster.container()["readinessProbe"];
        let unready = readiness["periodSeconds"].as_f64().zip(readiness["failureThreshold"].as_f64()).expect("both");
        assert!(drain_delay >= unready.0 * unready.1, "{}: /readyz says 503 for nobody", cluster.folder);
    }
}

fn a_start_may_take_as_long_as_its_probe() {
    for (cluster, _) in clusters() {
        let startup = &cluster.container()["startupProbe"];
        let room = startup["periodSeconds"].as_u64().zip(startup["failureThreshold"].as_u64()).expect("both");
        let deadline = cluster.one("Deployment")["spec"]["progressDeadlineSeconds"].as_u64().unwrap_or(600);
        assert!(deadline > room.0 * room.1, "{}", cluster.folder);
        for (probe, path) in [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")] {
            assert_eq!(cluster.container()[probe]["httpGet"]["path"], path, "{}", cluster.folder);
        }
    }
}

fn cpus_are_whole_and_nobody_elses() {
    for (cluster, _) in clusters() {
        let resources = &cluster.container()["resources"];
        assert_eq!(resources["requests"], resources["limits"], "{}", cluster.folder);
        let cpus = resources["limits"]["cpu"].as_str().expect("text");
        assert!(cpus.parse::<u32>().is_ok_and(|cpus| cpus > 0), "{}: {cpus}", cluster.folder);
        let body_bytes = cluster.settings()["requests"]["max_body_bytes"].as_integer().expect("bytes");
        let memory =
            resources["limits"]["memory"].as_str().and_then(|text| text.strip_suffix("Gi")?.parse::<i64>().ok());
        let pixels = cluster.settings()["pictures"]["max_pixels"].as_integer().expect("pixels");
        let cpus: i64 = cpus.parse().expect("whole");
        // A progressive JPEG takes 9 bytes a pixel while it is decoded; 100 MB are the server's own, and some room.
        let most = 100_000_000 + body_bytes + 9 * pixels * cpus;
        assert!(memory.expect("in Gi") << 30 > most * 5 / 4, "{}: pictures may take {most} bytes", cluster.folder);
    }
}

async fn the_autoscaler_alone_decides_by_a_metric_that_there_is() {
    let server = Server::start(&root().join("models"), &[]).await;
    let metrics = server.client.get(format!("{}/metrics", server.url)).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains("\nounce_desired_replicas "), "{metrics}");
    for (cluster, autoscaler) in clusters() {
        let deployment = cluster.one("Deployment");
        assert_eq!(deployment["spec"]["replicas"].is_null(), !cluster.folder.ends_with("plain"), "{}", cluster.folder);
        let Some(kind) = autoscaler else { continue };
        let spec = &cluster.one(kind)["spec"];
        assert_eq!(spec["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
        if kind == "ScaledObject" {
            let asked = &spec["triggers"][0]["metadata"];
            let namespace = deployment["metadata"]["namespace"].as_str().expect("a name");
            assert_eq!(asked["query"], format!("sum(ounce_desired_replicas{{namespace=\"{namespace}\"}})"));
            assert_eq!(asked["threshold"], "1");
        } else {
            let pods = &spec["metrics"][0]["pods"];
            assert_eq!(pods["metric"]["name"], "ounce_desired_replicas");
            assert_eq!(pods["target"], serde_json::json!({"type": "AverageValue", "averageValue": "1"}));
        }
    }
}

fn settings_and_keys_lie_side_by_side_and_are_not_edited_in_place() {
    for (cluster, _) in clusters() {
        // To edit it would change nothing, so the cluster must refuse that.
        assert_eq!(cluster.one("ConfigMap")["immutable"], true, "{}", cluster.folder);
        let volumes = cluster.pod()["spec"]["volumes"].as_array().expect("volumes");
        let volume = volumes.iter().find(|volume| volume["name"] == "config").expect("the volume");
        let secret = &volume["projected"]["sources"][1]["secret"];
        assert_eq!((&secret["name"], &secret["optional"]), (&"ounce-keys".into(), &true.into()), "{}", cluster.folder);
        // What is empty is left out by the cluster, which would be a difference for ever.
        let policy = &cluster.one("NetworkPolicy")["spec"];
        assert!(policy["egress"].is_null() && policy["policyTypes"] == serde_json::json!(["Ingress", "Egress"]));
    }
}

fn a_plain_cluster_needs_no_kinds_of_operators() {
    let cluster = Cluster::of("overlays/plain");
    let kinds: Vec<_> = cluster.objects.iter().map(|object| object["kind"].as_str().expect("a kind")).collect();
    assert!(!kinds.iter().any(|kind| OPERATORS.contains(kind)), "{kinds:?}");
    assert!(cluster.one("Deployment")["spec"]["replicas"].as_u64() >= Some(2));
}

fn a_rollout_on_gpus_needs_no_gpu_to_spare() {
    let cluster = Cluster::of("overlays/gpu");
    let rollout = &cluster.one("Deployment")["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(*rollout, serde_json::json!({"maxSurge": 0, "maxUnavailable": 1}));
}

fn the_balancer_finds_every_replica_and_may_reach_it() {
    let cluster = Cluster::of("overlays/balanced");
    let [config] = cluster.balancer("ConfigMap")[..] else { panic!("one file of settings") };
    let [deployment] = cluster.balancer("Deployment")[..] else { panic!("one balancer") };
    let [policy] = cluster.balancer("NetworkPolicy")[..] else { panic!("one policy") };
    let services = cluster.balancer("Service");
    let service = |name: &str| *services.iter().find(|service| name_of(service) == name).expect("the service");
    let (pod, replicas) = (&deployment["spec"]["template"], service("ounce-replicas"));
    let container = &pod["spec"]["containers"][0];
    assert!(selects(&service("ounce-balancer")["spec"]["selector"], &pod["metadata"]["labels"]));
    assert!(selects(&policy["spec"]["podSelector"]["matchLabels"], &pod["metadata"]["labels"]));
    assert!(selects(&replicas["spec"]["selector"], &cluster.pod()["metadata"]["labels"]));
    for other in cluster.all("Service") {
        assert!(!selects(&other["spec"]["selector"], &pod["metadata"]["labels"]), "{other}");
    }
    assert_eq!(
        (&replicas["spec"]["clusterIP"], &replicas["spec"]["publishNotReadyAddresses"]),
        (&"None".into(), &true.into())
    );
    assert_eq!(pod["spec"]["volumes"][0]["configMap"]["name"], config["metadata"]["name"]);

    // It asks by the name of that service, at the port that ounce listens on, and has room for as many as there may be.
    let variable = |name: &str| {
        let variables = container["env"].as_array().expect("variables");
        variables.iter().find(|variable| variable["name"] == name).expect("the variable")
    };
    assert_eq!(variable("OUNCE_REPLICAS")["value"], "ounce-replicas.$(NAMESPACE).svc.cluster.local");
    let text = config["data"]["haproxy.cfg"].as_str().expect("the file");
    let template = text.lines().find(|line| line.trim_start().starts_with("server-template")).expect("the line");
    let most = template.split(' ').find_map(|word| word.strip_prefix("1-")?.parse::<u64>().ok()).expect("how many");
    assert!(cluster.one("HorizontalPodAutoscaler")["spec"]["maxReplicas"].as_u64() <= Some(most), "{template}");
    let listen = cluster.settings()["listen"].as_str().expect("an address").to_owned();
    let port = listen.rsplit(':').next().expect("a port");
    assert!(template.contains(&format!("\"${{OUNCE_REPLICAS-ounce}}:{port}\"")), "{template}");
    assert_eq!(policy["spec"]["egress"][0]["ports"][0]["port"], "http");
    assert!(selects(
        &policy["spec"]["egress"][0]["to"][0]["podSelector"]["matchLabels"],
        &cluster.pod()["metadata"]["labels"]
    ));

    // What is under way has as long as ounce gives it, and the cluster waits for that.
    let seconds = |word: &str| {
        let line = text.lines().map(str::trim_start).find_map(|line| line.strip_prefix(word)).expect("the line");
        line.split_whitespace().next().and_then(|time| time.strip_suffix('s')?.parse::<u64>().ok()).expect("seconds")
    };
    let pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().expect("a sleep");
    let before_kill = pod["spec"]["terminationGracePeriodSeconds"].as_u64().expect("a time");
    assert!(before_kill > pre_stop + seconds("hard-stop-after"));
    assert!(seconds("hard-stop-after") >= seconds("timeout server"));

    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, text).expect("write");
    let mut haproxy = harness::program("haproxy", "REQUIRE_BALANCERS", "Debian has it in the package of that name");
    haproxy.env("OUNCE_REPLICAS", "ounce-replicas.ounce.svc.cluster.local").args(["-c", "-f"]).arg(&file);
    let checked = haproxy.output().expect("it starts");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
