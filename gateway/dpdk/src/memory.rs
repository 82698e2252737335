//! Whether enough huge pages are free, asked before DPDK is: it says only "cannot init memory".

use std::fs;
use std::path::Path;

use super::Error;

const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// Huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pages {
    size_kib: u64,
    total: u64,
    free: u64,
    file: String,
}

/// Ok if `mib` of huge pages are free, over all page sizes.
pub(super) fn check_huge_pages(mib: u32) -> Result<(), Error> {
    check(&read(Path::new(HUGE_PAGES)), mib)
}

fn check(sizes: &[Pages], mib: u32) -> Result<(), Error> {
    let needed_kib = u64::from(mib) << 10;
    // EAL takes whole pages of each size, so a rest smaller than a page does not count.
    let free_kib: u64 = sizes.iter().map(|pages| pages.free * pages.size_kib).sum();
    if free_kib >= needed_kib && free_kib > 0 {
        return Ok(());
    }
    // The remedy is told for the smallest size, which can be reserved while the machine runs.
    let pages = sizes.iter().min_by_key(|pages| pages.size_kib).ok_or(Error::NoHugePages)?;
    let needed = needed_kib.div_ceil(pages.size_kib).max(1);
    Err(Error::HugePages {
        needed,
        free: pages.free,
        total: pages.total + needed.saturating_sub(pages.free),
        page_kib: pages.size_kib,
        file: pages.file.clone(),
    })
}

fn read(directory: &Path) -> Vec<Pages> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let size_kib = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let file = match size_kib {
                2048 => "/proc/sys/vm/nr_hugepages".to_owned(),
                _ => entry.path().join("nr_hugepages").display().to_string(),
            };
            let total = number(&entry.path().join("nr_hugepages"))?;
            let free = number(&entry.path().join("free_hugepages"))?;
            Some(Pages { size_kib, total, free, file })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(total: u64, free: u64) -> Pages {
        Pages { size_kib: 2048, total, free, file: "/proc/sys/vm/nr_hugepages".into() }
    }

    #[test]
    fn names_the_number_and_the_command() {
        let error = check(&[pages(100, 12)], 600).unwrap_err();
        assert_eq!(
            error.to_string(),
            "needs 300 huge pages of 2 MiB, 12 are free: echo 388 > /proc/sys/vm/nr_hugepages"
        );
    }

    #[test]
    fn counts_every_page_size() {
        let gigabyte = Pages { size_kib: 1 << 20, total: 1, free: 1, file: String::new() };
        assert_eq!(check(&[pages(10, 10), gigabyte], 1040), Ok(()));
        assert_eq!(check(&[], 1), Err(Error::NoHugePages));
    }
}
