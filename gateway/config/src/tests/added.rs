//! Port forwards that are added to a configuration while it is in force.

use super::*;

fn forward(external: &str, internal: &str) -> AddedForward {
    AddedForward {
        protocol: "tcp".into(),
        external: external.into(),
        internal: internal.into(),
        source: None,
    }
}

fn mistakes(text: &str, added: &[AddedForward]) -> Vec<String> {
    let mistakes = Config::parse_with(text, "gateway.toml", added).expect_err("it has to be refused");
    mistakes.iter().map(Diagnostic::to_string).collect()
}

/// The messages of a forward that the file has, with the place taken off.
fn as_of_the_file(forward: &AddedForward) -> Vec<String> {
    let AddedForward { protocol, external, internal, .. } = forward;
    let table = format!(
        "[[nat.port_forwards]]\nprotocol = \"{protocol}\"\nexternal = \"{external}\"\ninternal = \"{internal}\""
    );
    let place = |message: String| message.split_once(": ").expect("a place").1.to_owned();
    mistakes(&example_and(&table), &[]).into_iter().map(place).collect()
}

#[test]
fn added_forwards_come_behind_those_of_the_file() {
    let other = AddedForward {
        source: Some("gateway".into()),
        ..forward("203.0.113.14:9000-9009", "10.64.0.12:80-89")
    };
    let added = [forward("203.0.113.13:9090", "10.64.0.12:90"), other];
    let config = Config::parse_with(EXAMPLE, "gateway.toml", &added).unwrap();
    let file = parse(EXAMPLE);
    let forwards = &config.settings.port_forwards;
    assert_eq!((config.added_forwards, file.added_forwards), (2, 0));
    assert_eq!(forwards[..forwards.len() - 2], file.settings.port_forwards);
    let [first, second] = &forwards[forwards.len() - 2..] else { panic!("{forwards:?}") };
    assert_eq!((first.external_ports.clone(), first.internal_port), (9090..=9090, 90));
    assert_eq!((second.external_ports.clone(), second.source), (9000..=9009, ForwardSource::Gateway));
    assert_eq!(added[0].id(), "tcp-203.0.113.13-9090");
}

#[test]
fn an_added_forward_is_refused_as_one_of_the_file_is() {
    for (external, internal) in [
        ("203.0.113.13", "10.64.0.12:90"),
        ("203.0.113.13:9090\"\n[log]", "10.64.0.12:90"),
        ("203.0.113.13:9090-9091", "10.64.0.12:90"),
        ("203.0.113.13:9090", "192.0.2.1:90"),
        ("203.0.113.20:9090", "10.64.0.12:90"),
        ("10.64.0.7:9090", "10.64.0.12:90"),
        ("203.0.113.1:9090", "10.64.0.12:90"),
        ("203.0.113.13:8080", "10.64.0.12:90"),
    ] {
        let added = forward(external, internal);
        let here = mistakes(EXAMPLE, std::slice::from_ref(&added));
        let place = format!("forward {}: ", added.id());
        assert!(here.iter().all(|message| message.starts_with(&place)), "{here:?}");
        if !external.contains('"') {
            let here: Vec<&str> = here.iter().map(|message| &message[place.len()..]).collect();
            assert_eq!(here, as_of_the_file(&added), "{external}");
        }
    }
    let other = AddedForward { protocol: "gre".into(), ..forward("203.0.113.13:9090", "10.64.0.12:90") };
    assert_eq!(mistakes(EXAMPLE, &[other]).len(), 1);
}

#[test]
fn a_file_that_collides_with_an_added_forward_names_it_by_its_id() {
    let added = [forward("203.0.113.13:9090", "10.64.0.12:90")];
    let file = "[[nat.port_forwards]]\nprotocol = \"tcp\"\nexternal = \"203.0.113.13:9090\"\ninternal = \"10.64.0.12:91\"";
    let said = mistakes(&example_and(file), &added);
    assert!(said.len() == 1 && said[0].starts_with("forward tcp-203.0.113.13-9090: "), "{said:?}");
    let statics = "[[nat.static]]\nexternal = \"203.0.113.13\"\ninternal = \"10.64.0.33\"";
    let said = mistakes(
        &example_with(
            "203.0.113.20\"",
            "203.0.113.14\"\ninternal = \"10.64.0.20\"\n\n[[nat.static]]\nexternal = \"203.0.113.20\"",
        )
        .replace("203.0.113.13:8080", "203.0.113.15:8080")
        .replacen("[nat.limits]", &format!("{statics}\n\n[nat.limits]"), 1),
        &added,
    );
    assert!(said.iter().any(|message| message.contains("tcp-203.0.113.13-9090")), "{said:?}");
}

#[test]
fn added_forwards_that_collide_name_one_another() {
    let added = [
        forward("203.0.113.13:9000-9010", "10.64.0.12:1000-1010"),
        forward("203.0.113.13:9005", "10.64.0.12:90"),
    ];
    let said = mistakes(EXAMPLE, &added);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("forward tcp-203.0.113.13-9005: "), "{said:?}");
    assert!(said[0].contains("(forward tcp-203.0.113.13-9000-9010)"), "{said:?}");
}
