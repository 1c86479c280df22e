//! The program that holds a pod's namespaces, and the image around it, made here: a machine without internet (or with a
//! registry that is away) can still start a pod, and nothing has to be compiled on it.
//!
//! The program does what a first process must and nothing else: it ignores `SIGCHLD`, so that the kernel itself reaps
//! whatever is orphaned into its process namespace; it ends on `SIGTERM` and `SIGINT`; and it sleeps. It is a static
//! ELF file of some 250 bytes, a header and a dozen instructions, written out below for each architecture.

use orchestra_core::runtime::RuntimeError;

/// What the image is called. The tag changes with the program.
pub(super) const IMAGE: &str = "orchestra/pause:1";

/// Where the kernel maps the file; any address does that is a multiple of the largest page size.
const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// A root file system with the program as `/pause`, as a tar archive, for Docker's name of an architecture.
pub(super) fn root(architecture: &str) -> Result<Vec<u8>, RuntimeError> {
    let (machine, code) = match architecture {
        "amd64" | "x86_64" => (62, x86_64()),
        "arm64" | "aarch64" => (183, aarch64()),
        _ => return Err(RuntimeError::Unsupported { what: "an architecture other than amd64 and arm64" }),
    };
    Ok(tar("pause", &elf(machine, &code)))
}

/// An executable of one segment that holds headers and code.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    let size = HEADERS + code.len() as u64;
    let mut file = Vec::with_capacity(size as usize);
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let half = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    let word = |file: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    let long = |file: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    half(&mut file, &[2, machine]); // executable, for this machine
    word(&mut file, &[1]);
    long(&mut file, &[BASE + HEADERS, 64, 0]); // entry point, program headers, no sections
    word(&mut file, &[0]);
    half(&mut file, &[64, 56, 1, 64, 0, 0]); // sizes and numbers of headers
    word(&mut file, &[1, 5]); // a segment to load, readable and executable
    long(&mut file, &[0, BASE, BASE, size, size, 0x1_0000]);
    file.extend(code);
    file
}

/// For Linux on x86-64.
fn x86_64() -> Vec<u8> {
    const IGNORE: usize = 0; // offsets of the two `struct sigaction` within the data, which comes after the code
    const END: usize = 32;
    let act = |signal: u8, offset: usize, at: usize, code_len: usize| {
        let target = code_len + offset;
        let next = at + 12; // the address is relative to the instruction after `lea`
        let mut code = vec![0xbf, signal, 0, 0, 0, 0x48, 0x8d, 0x35]; // mov edi, signal; lea rsi, [rip + …]
        code.extend(i32::try_from(target - next).unwrap_or_default().to_le_bytes());
        code.extend([0x31, 0xd2]); // xor edx, edx
        code.extend([0x41, 0xba, 8, 0, 0, 0]); // mov r10d, 8
        code.extend([0xb8, 13, 0, 0, 0, 0x0f, 0x05]); // mov eax, rt_sigaction; syscall
        code
    };
    const ACT: usize = 27;
    const LEN: usize = 3 * ACT + 9 + 9;
    let mut code = act(17, IGNORE, 0, LEN); // SIGCHLD
    code.extend(act(15, END, ACT, LEN)); // SIGTERM
    code.extend(act(2, END, 2 * ACT, LEN)); // SIGINT
    code.extend([0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]); // again: mov eax, pause; syscall; jmp again
    let exit = BASE + HEADERS + code.len() as u64;
    code.extend([0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]); // xor edi, edi; mov eax, exit; syscall
    // handler, flags, restorer, mask. The kernel insists on a restorer (0x0400_0000); ours is never returned to.
    for field in [1, 0, 0, 0, exit, 0x0400_0000, exit, 0] {
        code.extend(u64::to_le_bytes(field));
    }
    code
}

/// For Linux on 64-bit ARM, which has no `pause`: `ppoll` on nothing, without end.
fn aarch64() -> Vec<u8> {
    const LEN: u32 = 3 * 6 + 7 + 3; // instructions before the data
    let mov = |register: u32, value: u32| 0xd280_0000 | value << 5 | register;
    let adr = |register: u32, bytes: u32| 0x1000_0000 | (bytes & 3) << 29 | (bytes >> 2) << 5 | register;
    let svc = 0xd400_0001;
    let mut code: Vec<u32> = Vec::new();
    for (signal, data) in [(17, 0), (15, 32), (2, 32)] {
        let here = code.len() as u32 + 1;
        code.extend([mov(0, signal), adr(1, (LEN - here) * 4 + data), mov(2, 0), mov(3, 8)]);
        code.extend([mov(8, 134), svc]); // rt_sigaction
    }
    code.extend([mov(0, 0), mov(1, 0), mov(2, 0), mov(3, 0), mov(8, 73), svc]); // ppoll
    code.push(0x1400_0000 | 0x03ff_ffff & 0u32.wrapping_sub(6)); // and again
    let exit = BASE + HEADERS + code.len() as u64 * 4;
    code.extend([mov(0, 0), mov(8, 93), svc]); // exit
    let mut bytes: Vec<u8> = code.iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
    for field in [1, 0, 0, 0, exit, 0, 0, 0] {
        bytes.extend(u64::to_le_bytes(field));
    }
    bytes
}

/// A tar archive of one executable file: a ustar header, the content in blocks of 512, two empty blocks.
pub(crate) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn is_a_few_hundred_bytes_for_both_architectures() {
        assert_eq!(elf(62, &x86_64()).len(), 120 + 99 + 64);
        assert_eq!(elf(183, &aarch64()).len(), 120 + 28 * 4 + 64);
        assert!(matches!(root("riscv64"), Err(RuntimeError::Unsupported { .. })));
        assert_eq!(root("amd64").unwrap().len() % 512, 0);
    }

    /// The instructions that are computed, against the encodings of the architecture manual.
    #[test]
    fn arm_instructions() {
        let code = aarch64();
        let words: Vec<u32> =
            code[..28 * 4].chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words[0], 0xd280_0220, "mov x0, #17");
        assert_eq!(words[1], 0x1000_0361, "adr x1, .+108");
        assert_eq!(words[4], 0xd280_10c8, "mov x8, #134");
        assert_eq!(words[24], 0x17ff_fffa, "b .-24");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn runs_and_ends_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pause");
        std::fs::write(&path, elf(62, &x86_64())).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let mut child = Command::new(&path).spawn().unwrap();
        let pid = child.id();
        let asleep = || std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !asleep().starts_with("34 ") {
            assert!(std::time::Instant::now() < deadline, "not in pause(2): {}", asleep());
            std::thread::yield_now();
        }
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
    }
}
