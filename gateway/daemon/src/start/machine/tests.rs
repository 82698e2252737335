//! Each warning on a machine that gives rise to it, and none on one that is as it should be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::warnings;
use natgw_config::Config;

const PORT: &str = "sys/bus/pci/devices/0000:3b:00.0";
const CPU: &str = "sys/devices/system/cpu";
const NODE_0: &str = "sys/devices/system/node/node0";
const ALL_PAGES: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";

/// A machine with two NUMA nodes of four CPUs, the threads of a core four apart, set up for workers on CPUs 1 and 2.
struct Fake(TempDir);

impl Fake {
    fn new() -> Fake {
        let fake = Fake(tempfile::tempdir().unwrap());
        for port in [PORT, "sys/bus/pci/devices/0000:3b:00.1"] {
            fake.write(&format!("{port}/numa_node"), "0\n");
            fake.link(&format!("{port}/driver"), "../../../bus/pci/drivers/vfio-pci");
        }
        fake.write("sys/class/iommu/dmar0/devices", "");
        for (cpu, sibling) in [(0, "0,4"), (1, "1,5"), (2, "2,6"), (5, "1,5")] {
            fake.write(&format!("{CPU}/cpu{cpu}/topology/thread_siblings_list"), sibling);
            fake.write(&format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor"), "performance\n");
        }
        fake.write(&format!("{CPU}/online"), "0-7\n");
        fake.write(&format!("{CPU}/isolated"), "1-2,5-6\n");
        fake.write(&format!("{NODE_0}/cpulist"), "0-2,4-6\n");
        fake.pages(ALL_PAGES, 1024, 1024);
        fake.pages(&format!("{NODE_0}/hugepages/hugepages-2048kB"), 1024, 1024);
        fake.interrupt(40, "nvme0q0", "0\n");
        fake
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.0.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let file = self.0.path().join(path);
        let _ = fs::remove_file(&file);
        symlink(target, file).unwrap();
    }

    fn pages(&self, directory: &str, total: u32, free: u32) {
        self.write(&format!("{directory}/nr_hugepages"), &total.to_string());
        self.write(&format!("{directory}/free_hugepages"), &free.to_string());
    }

    fn interrupt(&self, number: u32, handler: &str, cpus: &str) {
        self.write(&format!("proc/irq/{number}/effective_affinity_list"), cpus);
        self.write(&format!("proc/irq/{number}/smp_affinity_list"), "0-7\n");
        fs::create_dir_all(self.0.path().join(format!("proc/irq/{number}/{handler}"))).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_dir_all(self.0.path().join(path)).unwrap();
    }

    /// The warnings, a line each, of two ports with workers on CPUs 1 and 2 after a change of the configuration.
    fn says(&self, change: impl FnOnce(String) -> String) -> Vec<String> {
        let config = Config::parse(&change(CONFIG.to_owned()), "gateway.toml").unwrap();
        warnings(&config, self.0.path()).iter().map(ToString::to_string).collect()
    }

    fn says_unchanged(&self) -> Vec<String> {
        self.says(|config| config)
    }
}

const CONFIG: &str = r#"
[dpdk]
worker_lcores = [1, 2]
memory = "hugepages"
idle = "poll"
[[interfaces]]
name = "inside"
device = "0000:3b:00.0"
role = "inside"
addresses = ["10.64.0.1/24"]
[[interfaces]]
name = "outside"
device = "0000:3b:00.1"
role = "outside"
addresses = ["192.0.2.2/30"]
[[nat.pools]]
name = "main"
interface = "outside"
[[nat.rules]]
source = "10.64.0.0/24"
pool = "main"
"#;

#[test]
fn a_machine_that_is_set_up_gives_no_warning() {
    assert_eq!(Fake::new().says_unchanged(), [""; 0]);
}

#[test]
fn virtual_devices_need_none_of_it() {
    let bare = Fake(tempfile::tempdir().unwrap());
    let vdevs = |config: String| {
        config.replace("0000:3b:00.0", "net_tap0,iface=a").replace("0000:3b:00.1", "net_tap1,iface=b")
    };
    assert_eq!(bare.says(vdevs), [""; 0]);
    assert_ne!(bare.says_unchanged(), [""; 0]);
}

#[test]
fn a_device_that_is_missing() {
    let fake = Fake::new();
    fake.remove(PORT);
    assert_eq!(fake.says_unchanged(), ["0000:3b:00.0: no such PCI device: lspci -D lists them"]);
}

#[test]
fn a_device_that_the_kernel_drives() {
    let fake = Fake::new();
    fake.link(&format!("{PORT}/driver"), "../../../bus/pci/drivers/ice");
    let bind = "scripts/bind-nic.sh 0000:3b:00.0";
    assert_eq!(fake.says_unchanged(), [format!("0000:3b:00.0 is bound to ice, not to vfio-pci: {bind}")]);
    fs::remove_file(fake.0.path().join(format!("{PORT}/driver"))).unwrap();
    assert_eq!(
        fake.says_unchanged(),
        [format!("0000:3b:00.0 is bound to no driver, not to vfio-pci: {bind}")]
    );
    fake.link(&format!("{PORT}/driver"), "../../../bus/pci/drivers/mlx5_core");
    assert_eq!(fake.says_unchanged(), [""; 0]);
}

#[test]
fn no_iommu() {
    let fake = Fake::new();
    fake.remove("sys/class/iommu/dmar0");
    let said = fake.says_unchanged();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("no IOMMU: ") && said[0].contains("intel_iommu=on"), "{said:?}");
    for port in [PORT, "sys/bus/pci/devices/0000:3b:00.1"] {
        fake.link(&format!("{port}/driver"), "../../../bus/pci/drivers/mlx5_core");
    }
    assert_eq!(fake.says_unchanged(), [""; 0]);
}

#[test]
fn too_few_huge_pages() {
    let fake = Fake::new();
    fake.pages(ALL_PAGES, 12, 10);
    let said = fake.says_unchanged();
    let needed: u32 = said[0].split(", ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let pages = 2 + needed.div_ceil(2);
    let expected =
        format!("20 MiB of huge pages are free, {needed} are needed: sysctl vm.nr_hugepages={pages}");
    assert_eq!(said, [expected]);
    assert_eq!(fake.says(|config| config.replace("\"hugepages\"", "\"no-huge\"")), [""; 0]);
    // They are taken by the gateway that runs.
    let socket = "0000000000000000: 00000002 00000000 00010000 0001 01 31415 /run/nat-gateway/control.sock";
    fake.write(
        "proc/net/unix",
        &format!("Num       RefCount Protocol Flags    Type St Inode Path\n{socket}2\n"),
    );
    assert_eq!(fake.says_unchanged().len(), 1, "another's socket");
    fake.write("proc/net/unix", &format!("{socket}\n"));
    assert_eq!(fake.says_unchanged(), [""; 0]);
}

#[test]
fn huge_pages_on_the_wrong_node() {
    let fake = Fake::new();
    fake.pages(&format!("{NODE_0}/hugepages/hugepages-2048kB"), 0, 0);
    let said = fake.says_unchanged();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("0 MiB of huge pages are free on the devices' NUMA node 0, "), "{said:?}");
    assert!(said[0].ends_with(&format!(" >/{NODE_0}/hugepages/hugepages-2048kB/nr_hugepages")), "{said:?}");
    // One page of 1 GiB does as well.
    fake.pages(&format!("{NODE_0}/hugepages/hugepages-1048576kB"), 1, 1);
    assert_eq!(fake.says_unchanged(), [""; 0]);
}

#[test]
fn workers_on_cpus_that_are_not_there() {
    let fake = Fake::new();
    fake.write(&format!("{CPU}/online"), "0-1\n");
    // Nor is more said of them.
    fake.write(&format!("{CPU}/isolated"), "1\n");
    fake.interrupt(41, "eth0-TxRx-1", "2\n");
    assert_eq!(fake.says_unchanged(), ["lcore 2 is not online: worker_lcores among 0-1"]);
}

#[test]
fn workers_on_another_node_than_their_devices() {
    let fake = Fake::new();
    fake.write(&format!("{NODE_0}/cpulist"), "0-1\n");
    let expected = ["0000:3b:00.0", "0000:3b:00.1"]
        .map(|port| format!("{port} is on NUMA node 0, lcore 2 is not: worker_lcores among 0-1"));
    assert_eq!(fake.says_unchanged(), expected);
    // A machine with one node says -1.
    for port in [PORT, "sys/bus/pci/devices/0000:3b:00.1"] {
        fake.write(&format!("{port}/numa_node"), "-1\n");
    }
    assert_eq!(fake.says_unchanged(), [""; 0]);
}

#[test]
fn two_threads_of_a_core() {
    let said = Fake::new().says(|config| config.replace("[1, 2]", "[1, 2, 5]"));
    assert_eq!(said, ["lcores 1,5 are threads of one core each: one worker a core (lscpu --extended)"]);
}

#[test]
fn lcores_that_are_not_isolated() {
    let fake = Fake::new();
    fake.write(&format!("{CPU}/isolated"), "\n");
    let expected = "lcores 1-2 are not isolated: the scheduler may put other work there: \
                    kernel command line: isolcpus=1-2 nohz_full=1-2 rcu_nocbs=1-2";
    assert_eq!(fake.says_unchanged(), [expected]);
    assert_eq!(fake.says(|config| config.replace("\"poll\"", "\"backoff\"")), [""; 0]);
}

#[test]
fn lcores_that_take_interrupts() {
    let fake = Fake::new();
    fake.interrupt(41, "eth0-TxRx-1", "2\n");
    // Nobody asked for these, or the gateway did.
    fake.write("proc/irq/42/effective_affinity_list", "1\n");
    fake.interrupt(43, "vfio-msix[0](0000:3b:00.0)", "1\n");
    let expected = "lcore 2 takes interrupts: 41 (eth0-TxRx-1): \
                    echo 0 >/proc/irq/41/smp_affinity_list, or irqaffinity=0 on the kernel command line";
    assert_eq!(fake.says_unchanged(), [expected]);
    for number in 44..50 {
        fake.interrupt(number, "nvme0q1", "1\n");
    }
    let said = fake.says_unchanged();
    assert!(
        said[0].starts_with(
            "lcores 1-2 take interrupts: 41 (eth0-TxRx-1), 44 (nvme0q1), 45 (nvme0q1), 46 (nvme0q1), 3 more"
        ),
        "{said:?}"
    );
}

#[test]
fn governors_that_save_power() {
    let fake = Fake::new();
    fake.write(&format!("{CPU}/cpu2/cpufreq/scaling_governor"), "schedutil\n");
    let expected =
        "lcore 2 runs under the governor schedutil: cpupower --cpu 2 frequency-set --governor performance";
    assert_eq!(fake.says_unchanged(), [expected]);
}

#[test]
fn sets_of_cpus_are_read_and_written_as_the_kernel_does() {
    for text in ["", "0", "0-3", "0-1,4,6-8"] {
        assert_eq!(text.parse::<super::Cpus>().unwrap().to_string(), text);
    }
    assert!("0-".parse::<super::Cpus>().is_err());
    assert!(warnings(&Config::parse(CONFIG, "x").unwrap(), Path::new("/nonexistent")).len() >= 3);
}
