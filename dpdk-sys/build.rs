//! Finds DPDK through pkg-config, generates the bindings, compiles the shim and says what to link.
//!
//! A mistake of the environment ends the build with one line that names the package to install.

use std::env;
use std::panic;
use std::path::PathBuf;
use std::process::{Command, exit};

const OLDEST: (u32, u32) = (22, 11);

/// The functions that `gateway::dpdk` calls. Those of the shim come on top.
const FUNCTIONS: &[&str] = &[
    "rte_eal_(init|cleanup|has_hugepages|get_runtime_dir|remote_launch|wait_lcore|get_lcore_state)",
    "rte_eal_(hotplug_add|hotplug_remove)",
    "rte_(version|strerror|get_tsc_hz|socket_id)",
    "rte_(pktmbuf_pool_create|pktmbuf_free_bulk|pktmbuf_copy|mempool_free|mempool_avail_count|mempool_in_use_count)",
    "rte_ring_(create|free)",
    "rte_intr_(instance_alloc|instance_free|fd_set|type_set|callback_register|callback_unregister_pending)",
    "rte_eth_from_rings",
    "rte_eth_dev_(info_get|configure|adjust_nb_rx_tx_desc|set_mtu|get_mtu|start|stop|close|socket_id)",
    "rte_eth_dev_(get_port_by_name|get_name_by_port|default_mac_addr_set|is_valid_port)",
    "rte_eth_dev_(rss_reta_update|rss_reta_query|rss_hash_conf_get)",
    "rte_eth_(rx_queue_setup|tx_queue_setup|promiscuous_enable|macaddr_get|stats_get|xstats_get|xstats_get_names)",
    "shim_.*",
];

const TYPES: &[&str] =
    &["rte_eth_(conf|dev_info|stats|xstat|xstat_name|rss_reta_entry64|rss_conf)", "rte_lcore_state_t"];

const CONSTANTS: &[&str] = &[
    "ETH_(RSS_IPV4|RSS_FRAG_IPV4|RSS_NONFRAG_IPV4_OTHER|RSS_IPV4_ANY|RX_OFFLOAD_RSS_HASH|SPEED_UNKNOWN)",
    "MBUF_F_(RX_RSS_HASH|INDIRECT|EXTERNAL)",
    "RTE_PKTMBUF_HEADROOM",
    "RTE_MEMPOOL_CACHE_MAX_SIZE",
    "RTE_MP_MAX_FD_NUM",
    "RTE_ETH_MQ_RX_RSS_FLAG",
    "RTE_ETH_RETA_GROUP_SIZE",
    "RTE_ETH_XSTATS_NAME_SIZE",
    "RTE_LOG_.*",
    "RTE_MAX_LCORE",
    "LCORE_ID_ANY",
    "RING_F_(SP_ENQ|SC_DEQ|EXACT_SZ)",
    "RTE_INTR_HANDLE_EXT",
];

fn main() {
    for file in ["build.rs", "wrapper.h", "shim.h", "shim.c"] {
        println!("cargo::rerun-if-changed={file}");
    }
    for variable in
        ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR", "LIBCLANG_PATH"]
    {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let version = pkg_config(&["--modversion"]);
    if release(&version).is_none_or(|found| found < OLDEST) {
        fail(&format!(
            "DPDK {version} is too old, {}.{} or newer is needed: install libdpdk-dev of Debian 12 or newer",
            OLDEST.0, OLDEST.1
        ));
    }
    // A DPDK that is removed is missed at the next build already.
    println!("cargo::rerun-if-changed={}/libdpdk.pc", pkg_config(&["--variable=pcfiledir"]));
    let cflags = words(&pkg_config(&["--cflags"]));
    generate_bindings(&cflags);
    compile_shim(&cflags);
    if env::var_os("CARGO_FEATURE_STATIC").is_some() {
        link_static(&words(&pkg_config(&["--static", "--libs"])));
    } else {
        link_shared(&words(&pkg_config(&["--libs"])));
    }
}

fn pkg_config(arguments: &[&str]) -> String {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    match Command::new(&program).args(arguments).arg("libdpdk").output() {
        Err(error) => fail(&format!("{program} does not run ({error}): install pkgconf and libdpdk-dev")),
        Ok(output) if !output.status.success() => {
            fail("DPDK is not installed, or pkg-config does not find libdpdk.pc: install libdpdk-dev")
        }
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn generate_bindings(cflags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(cflags)
        .use_core()
        .rust_edition(bindgen::RustEdition::Edition2024)
        .prepend_enum_name(false)
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        .blocklist_type("rte_mbuf(_.*)?")
        .opaque_type("rte_mempool|rte_ring|rte_device");
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    // bindgen panics when libclang cannot be loaded; the reader gets the package's name instead of a backtrace.
    panic::set_hook(Box::new(|_| ()));
    let generated = panic::catch_unwind(panic::AssertUnwindSafe(|| builder.generate()));
    drop(panic::take_hook());
    let bindings = match generated {
        Err(_) => fail("bindgen finds no libclang: install libclang-dev"),
        Ok(Err(error)) => fail(&format!("bindgen: {}", error.to_string().replace('\n', "; "))),
        Ok(Ok(bindings)) => bindings,
    };
    let file = out_dir().join("bindings.rs");
    if let Err(error) = bindings.write_to_file(&file) {
        fail(&format!("{}: {error}", file.display()));
    }
}

fn compile_shim(cflags: &[String]) {
    let mut build = cc::Build::new();
    build.file("shim.c").opt_level(3).std("gnu11");
    for flag in cflags {
        // DPDK's own headers do not compile without warnings.
        match flag.strip_prefix("-I") {
            Some(directory) => build.flag("-isystem").flag(directory),
            None => build.flag(flag),
        };
    }
    if let Err(error) = build.try_compile("dpdk_shim") {
        fail(&format!("shim.c: {}", error.to_string().replace('\n', "; ")));
    }
}

/// Drivers are loaded by DPDK from its plugin directory; net_ring is linked because a test makes ports of rings.
fn link_shared(flags: &[String]) {
    for flag in flags {
        if let Some(directory) = flag.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={directory}");
        } else if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }
    println!("cargo::rustc-link-lib=dylib=rte_net_ring");
}

/// Archives are linked whole: a driver registers itself in a constructor that nothing refers to.
fn link_static(flags: &[String]) {
    let mut seen = Vec::new();
    for flag in flags {
        if seen.contains(&flag) {
            continue;
        }
        seen.push(flag);
        if let Some(directory) = flag.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={directory}");
        } else if let Some(archive) = flag.strip_prefix("-l:lib").and_then(|name| name.strip_suffix(".a")) {
            println!("cargo::rustc-link-lib=static:+whole-archive,-bundle={archive}");
        } else if let Some(library) = flag.strip_prefix("-l").filter(|name| !name.starts_with("rte_"))
            && can_be_linked(library)
        {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }
    let libdir = pkg_config(&["--variable=libdir"]);
    println!("cargo::rustc-link-search=native={libdir}");
}

/// `pkg-config --static` also names what the shared libraries below DPDK need themselves, libpcap's libdbus for one.
/// Those need not be installed for development; a library that DPDK's archives need is, as libdpdk-dev depends on it.
fn can_be_linked(library: &str) -> bool {
    let compiler = cc::Build::new().get_compiler();
    let found = compiler.to_command().arg(format!("-print-file-name=lib{library}.so")).output();
    found.is_ok_and(|output| output.stdout.contains(&b'/'))
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default())
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(0)
}
