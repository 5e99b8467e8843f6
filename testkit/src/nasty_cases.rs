//! The cases of the nasty tree. IDs are those of the failure catalogue; what has none is named
//! after what it is.

use std::io;

use rustix::fs::{FileType, IFlags, ioctl_getflags, ioctl_setflags, makedev};

use crate::Rng;
use crate::nasty_tree::Plot;

type Case = (&'static str, fn(&mut Plot) -> io::Result<()>);

pub(crate) const CASES: &[Case] = &[
    ("fid01-parents", parents),
    ("fid02-read-only-folders", read_only_folders),
    ("fid03-capabilities", capabilities),
    ("fid04-flags", flags),
    ("fid05-hard-links", hard_links),
    ("fid06-sparse", sparse),
    ("fid07-acls", acls),
    ("fid08-names", names),
    ("fid09-twins", twins),
    ("fid11-foreign-rules", foreign_rules),
    ("fid12-specials", specials),
    ("fid13-xattrs", xattrs),
    ("fid14-loops", loops),
    ("fid16-same-content", same_content),
    ("fid17-sizes", sizes),
    ("depth", depth),
    ("empty", empty),
    ("modes", modes),
    ("owners", owners),
    ("times", times),
];

/// Every ancestor has a mode, an owner and a time of its own.
fn parents(plot: &mut Plot) -> io::Result<()> {
    let mut path = Vec::new();
    for (level, mode) in [0o711, 0o2755, 0o1777, 0o700].into_iter().enumerate() {
        path.extend_from_slice(if path.is_empty() { b"level" } else { b"/level" });
        plot.folder(&path, mode)?;
        if plot.is_root() {
            plot.owner(&path, 1000 + level as u32, 2000 + level as u32)?;
            // A change of owner takes the set-group bit away.
            plot.mode(&path, mode)?;
        }
    }
    plot.file(&[&path[..], b"/file"].concat(), b"at the end of four parents\n")?;
    for level in (1..=4i64).rev() {
        plot.times(&path, 900_000_000 + level, level as u32)?;
        path.truncate(path.len().saturating_sub(b"/level".len()));
    }
    Ok(())
}

/// Folders that must be filled before they get their mode.
fn read_only_folders(plot: &mut Plot) -> io::Result<()> {
    plot.folder(b"outer", 0o755)?;
    plot.folder(b"outer/inner", 0o755)?;
    plot.folder(b"outer/inner/empty", 0o500)?;
    plot.file(b"outer/inner/file", b"inside two read-only folders\n")?;
    plot.symlink(b"outer/inner/link", b"file")?;
    plot.mode(b"outer/inner/file", 0o400)?;
    for path in [&b"outer/inner"[..], b"outer"] {
        plot.times(path, 800_000_000, 5)?;
        plot.mode(path, 0o500)?;
    }
    Ok(())
}

/// A capability is lost when the owner is set after it.
fn capabilities(plot: &mut Plot) -> io::Result<()> {
    let file = plot.file(b"ping", b"not really a program\n")?;
    plot.mode(b"ping", 0o755)?;
    if !plot.is_root() {
        plot.leave_out("security.capability", "needs root");
        return Ok(());
    }
    plot.owner_of(&file, 1000, 1000)?;
    // VFS_CAP_REVISION_2 with the effective bit: cap_net_raw permitted.
    let mut capability = 0x0200_0001u32.to_le_bytes().to_vec();
    for word in [1u32 << 13, 0, 0, 0] {
        capability.extend_from_slice(&word.to_le_bytes());
    }
    plot.if_possible("security.capability", |plot| {
        plot.xattr(b"ping", b"security.capability", &capability)
    })
}

/// Flags that forbid everything that should have been done before.
fn flags(plot: &mut Plot) -> io::Result<()> {
    plot.file(b"nodump", b"not for dump(8)\n")?;
    plot.if_possible("nodump", |plot| add_flag(plot, b"nodump", IFlags::NODUMP))?;
    if !plot.is_root() {
        plot.leave_out("immutable and append-only", "needs root");
        return Ok(());
    }
    plot.file(b"immutable", b"nobody changes me\n")?;
    plot.file(b"append-only", b"only longer\n")?;
    plot.folder(b"immutable-folder", 0o755)?;
    plot.file(b"immutable-folder/file", b"was here before\n")?;
    for (path, mode) in [(&b"immutable"[..], 0o640), (b"append-only", 0o604)] {
        plot.mode(path, mode)?;
        plot.owner(path, 1001, 1002)?;
        plot.times(path, 700_000_000, 7)?;
    }
    plot.times(b"immutable-folder", 700_000_001, 8)?;
    plot.if_possible("immutable file", |plot| add_flag(plot, b"immutable", IFlags::IMMUTABLE))?;
    plot.if_possible("append-only file", |plot| add_flag(plot, b"append-only", IFlags::APPEND))?;
    plot.if_possible("immutable folder", |plot| {
        add_flag(plot, b"immutable-folder", IFlags::IMMUTABLE)
    })
}

fn add_flag(plot: &Plot, path: &[u8], flag: IFlags) -> io::Result<()> {
    let file = plot.open(path)?;
    let flags = ioctl_getflags(&file)?;
    Ok(ioctl_setflags(&file, flags | flag)?)
}

/// Groups across folders, of files, links and specials.
fn hard_links(plot: &mut Plot) -> io::Result<()> {
    for folder in [&b"a"[..], b"a/deep", b"z"] {
        plot.folder(folder, 0o755)?;
    }
    plot.file(b"a/first", &Rng::new(5).text(70_000))?;
    plot.hard_link(b"a/first", b"a/deep/second")?;
    plot.hard_link(b"a/first", b"z/third")?;
    plot.file(b"z/pair", b"")?;
    plot.hard_link(b"z/pair", b"a/pair")?;
    plot.file(b"a/alone", &Rng::new(5).text(70_000))?;
    plot.symlink(b"a/link", b"first")?;
    plot.if_possible("two names of one symbolic link", |plot| {
        plot.hard_link(b"a/link", b"z/link")
    })?;
    plot.special(b"a/pipe", FileType::Fifo, 0)?;
    plot.hard_link(b"a/pipe", b"z/pipe")
}

/// Holes at the start, in the middle, at the end, everywhere, and one block around them.
fn sparse(plot: &mut Plot) -> io::Result<()> {
    const MIB: u64 = 1 << 20;
    let block = Rng::new(6).bytes(4096);
    for hole in [4095, 4096, 4097, 65_535, 65_537, MIB - 1, MIB, MIB + 1] {
        let name = |place: &str| format!("{place}-{hole}").into_bytes();
        let end = hole + block.len() as u64;
        plot.sparse(&name("leading"), end, &[(hole, &block)])?;
        plot.sparse(&name("trailing"), end, &[(0, &block)])?;
        plot.sparse(&name("interior"), 2 * end, &[(0, &block), (end, &block)])?;
    }
    plot.sparse(b"nothing-but-hole", 3 * MIB + 1, &[])?;
    plot.sparse(b"zeros-written", 0, &[(0, &vec![0; 300_000])])?;
    let eight: Vec<(u64, &[u8])> = (0..8).map(|n| (n << 37, block.as_slice())).collect();
    plot.if_possible("1 TiB with 8 blocks", |plot| plot.sparse(b"tebibyte", 1 << 40, &eight))
}

/// Access and default ACLs that name users and groups by numbers without a name.
fn acls(plot: &mut Plot) -> io::Result<()> {
    const USER_OBJ: u16 = 0x01;
    const USER: u16 = 0x02;
    const GROUP_OBJ: u16 = 0x04;
    const GROUP: u16 = 0x08;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;
    let entries = [
        (USER_OBJ, 7, u32::MAX),
        (USER, 7, 54_321),
        (GROUP_OBJ, 4, u32::MAX),
        (GROUP, 5, 65_432),
        (MASK, 7, u32::MAX),
        (OTHER, 0, u32::MAX),
    ];
    // POSIX_ACL_XATTR_VERSION, then tag, permissions and id of each entry.
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&u16::to_le_bytes(permissions));
        acl.extend_from_slice(&id.to_le_bytes());
    }
    plot.file(b"file", b"read by number\n")?;
    plot.folder(b"folder", 0o755)?;
    plot.folder(b"both", 0o755)?;
    plot.if_possible("access ACL", |plot| {
        plot.xattr(b"file", b"system.posix_acl_access", &acl)?;
        plot.xattr(b"both", b"system.posix_acl_access", &acl)
    })?;
    plot.if_possible("default ACL", |plot| {
        plot.xattr(b"folder", b"system.posix_acl_default", &acl)?;
        plot.xattr(b"both", b"system.posix_acl_default", &acl)
    })?;
    // Made under a default ACL and then without one of their own.
    plot.file(b"folder/inherited", b"")?;
    plot.folder(b"folder/inherited-folder", 0o755)
}

/// Every byte that a name can hold, alone and inside; targets of the same kind.
fn names(plot: &mut Plot) -> io::Result<()> {
    for byte in (1..=255u8).filter(|byte| *byte != b'/') {
        let inside = [b'n', byte, b'x'];
        plot.if_possible(&format!("byte {byte:#04x}"), |plot| {
            plot.file(&inside, &inside)?;
            if byte != b'.' {
                plot.file(&[byte], &[byte])?;
            }
            plot.symlink(&[b'l', byte, b'l'], &[b't', byte, b'/', byte, b't'])
        })?;
    }
    plot.if_possible("255 bytes", |plot| {
        plot.file(&[b'x'; 255], b"longest\n")?;
        plot.folder(&[b'd'; 255], 0o755)?;
        plot.file(&[&[b'd'; 255][..], b"/", &[b'y'; 255]].concat(), b"longest in longest\n")?;
        plot.file("ß".repeat(127).as_bytes(), b"254 bytes, 127 characters\n")?;
        Ok(())
    })?;
    for name in
        [&b"..."[..], b"..x", b"-rf", b"**", b"~ada", b"a\nb", b"  ", b"  lead", b"\x1b[31mred"]
    {
        plot.file(name, name)?;
    }
    plot.symlink(b"dangling", b"is/not/there")?;
    plot.symlink(b"absolute", b"/is/not/there")?;
    plot.symlink(b"up", b"../..")?;
    let long: Vec<u8> = b"0123456789abcde/".repeat(255);
    plot.if_possible("target of 4,080 bytes", |plot| plot.symlink(b"long-target", &long))
}

/// Names that some file systems hold to be the same.
fn twins(plot: &mut Plot) -> io::Result<()> {
    for name in ["README", "readme", "Readme", "caf\u{e9}", "cafe\u{301}", "\u{212b}", "\u{c5}"] {
        plot.if_possible(name, |plot| plot.file(name.as_bytes(), name.as_bytes()).map(drop))?;
    }
    plot.folder(b"Folder", 0o755)?;
    plot.if_possible("folder", |plot| plot.folder(b"folder", 0o700))?;
    plot.file(b"Folder/x", b"upper\n")?;
    plot.if_possible("folder/x", |plot| plot.file(b"folder/x", b"lower\n").map(drop))
}

/// Names that are ordinary here and an attack or an error elsewhere.
fn foreign_rules(plot: &mut Plot) -> io::Result<()> {
    for name in [
        &b"..\\up"[..],
        b"..\\..\\up",
        b"C:",
        b"C:\\x",
        b"file:stream",
        b"con",
        b"NUL.txt",
        b"dot.",
        b"blank ",
        b"a?b<c>d|e\"f",
        b"\\\\server\\share",
    ] {
        plot.file(name, name)?;
    }
    Ok(())
}

/// Everything that is neither file, folder nor link.
fn specials(plot: &mut Plot) -> io::Result<()> {
    plot.special(b"pipe-without-writer", FileType::Fifo, 0)?;
    plot.special(b"socket", FileType::Socket, 0)?;
    plot.mode(b"socket", 0o600)?;
    if !plot.is_root() {
        plot.leave_out("device nodes", "needs root");
        return Ok(());
    }
    // A device that nothing answers for, one that reads for ever, and big numbers.
    for (name, kind, major, minor) in [
        (&b"character"[..], FileType::CharacterDevice, 42, 7),
        (b"zero", FileType::CharacterDevice, 1, 5),
        (b"block", FileType::BlockDevice, 42, 7),
        (b"big-numbers", FileType::BlockDevice, 4095, 1_048_575),
    ] {
        let text = String::from_utf8_lossy(name).into_owned();
        plot.if_possible(&text, |plot| plot.special(name, kind, makedev(major, minor)))?;
    }
    Ok(())
}

/// Many, big, empty and binary attributes, on files, folders and (as root) links.
fn xattrs(plot: &mut Plot) -> io::Result<()> {
    plot.file(b"many", b"")?;
    plot.if_possible("forty user attributes", |plot| {
        for n in 0..40 {
            plot.xattr(b"many", format!("user.name{n:02}").as_bytes(), &[n; 9])?;
        }
        plot.xattr(b"many", b"user.empty", b"")?;
        plot.xattr(b"many", b"user.\xff\x01\x80", b"\0binary\xff")
    })?;
    plot.file(b"big", b"")?;
    let value = Rng::new(13).bytes(60_000);
    plot.if_possible("60 KB value", |plot| plot.xattr(b"big", b"user.big", &value))?;
    plot.file(b"three-kilobytes", b"")?;
    plot.if_possible("3 KB value", |plot| {
        plot.xattr(b"three-kilobytes", b"user.three", &value[..3000])
    })?;
    plot.folder(b"folder", 0o755)?;
    plot.if_possible("on a folder", |plot| plot.xattr(b"folder", b"user.colour", b"green"))?;
    plot.symlink(b"link", b"many")?;
    if !plot.is_root() {
        plot.leave_out("trusted attributes", "needs root");
        return Ok(());
    }
    plot.if_possible("trusted, on a file and a link", |plot| {
        plot.xattr(b"many", b"trusted.simsim", b"for root")?;
        plot.xattr(b"link", b"trusted.simsim", b"on the link itself")
    })
}

/// Links that never end.
fn loops(plot: &mut Plot) -> io::Result<()> {
    plot.symlink(b"self", b"self")?;
    plot.symlink(b"a", b"b")?;
    plot.symlink(b"b", b"a")?;
    plot.folder(b"folder", 0o755)?;
    plot.symlink(b"folder/parent", b"..")?;
    plot.symlink(b"folder/here", b".")
}

/// The same bytes under several names, and all zeros: dedup must not merge files.
fn same_content(plot: &mut Plot) -> io::Result<()> {
    let content = Rng::new(16).text(200_000);
    for name in [&b"one"[..], b"two", b"three"] {
        plot.file(name, &content)?;
    }
    plot.mode(b"two", 0o600)?;
    plot.file(b"prefix", &content[..100_000])?;
    plot.file(b"twice", &[&content[..], &content].concat())?;
    plot.file(b"zeros", &vec![0; 1 << 20])?;
    plot.file(b"more-zeros", &vec![0; (1 << 20) + 1])?;
    Ok(())
}

/// One byte around every power of two that a buffer, a chunk or a frame may have.
fn sizes(plot: &mut Plot) -> io::Result<()> {
    let mut rng = Rng::new(17);
    for size in [0, 1, 2, 511, 512, 513] {
        plot.file(format!("{size}").as_bytes(), &rng.bytes(size))?;
    }
    for power in [12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22] {
        for size in [(1 << power) - 1, 1 << power, (1 << power) + 1] {
            let content = if power % 2 == 0 { rng.bytes(size) } else { rng.text(size) };
            plot.file(format!("{size}").as_bytes(), &content)?;
        }
    }
    Ok(())
}

/// Past PATH_MAX with long names, and deep with short ones.
fn depth(plot: &mut Plot) -> io::Result<()> {
    let mut path = b"long".to_vec();
    plot.folder(&path, 0o755)?;
    for level in 0..20u8 {
        path.push(b'/');
        path.extend_from_slice(&[b'a' + level; 250]);
        plot.folder(&path, 0o755)?;
    }
    plot.file(&[&path[..], b"/file"].concat(), b"past PATH_MAX\n")?;
    plot.symlink(&[&path[..], b"/link"].concat(), b"file")?;
    let mut path = b"deep".to_vec();
    plot.folder(&path, 0o755)?;
    for _ in 0..1200 {
        path.extend_from_slice(b"/d");
        plot.folder(&path, 0o755)?;
    }
    plot.file(&[&path[..], b"/f"].concat(), b"twelve hundred folders down\n")?;
    Ok(())
}

fn empty(plot: &mut Plot) -> io::Result<()> {
    plot.folder(b"folder", 0o755)?;
    plot.folder(b"nested", 0o755)?;
    plot.folder(b"nested/folder", 0o755)?;
    plot.file(b"file", b"")?;
    plot.times(b"folder", 600_000_000, 1)
}

/// Every permission bit, alone and with the special ones.
fn modes(plot: &mut Plot) -> io::Result<()> {
    for mode in [0o400, 0o600, 0o644, 0o666, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777] {
        let file = format!("file-{mode:04o}");
        plot.file(file.as_bytes(), file.as_bytes())?;
        plot.mode(file.as_bytes(), mode)?;
        if mode & 0o500 == 0o500 {
            let folder = format!("folder-{mode:04o}");
            plot.folder(folder.as_bytes(), mode)?;
        }
    }
    if !plot.is_root() {
        plot.leave_out("files and folders without any permission", "only root can read them");
        return Ok(());
    }
    for mode in [0o000, 0o222, 0o111] {
        let file = format!("file-{mode:04o}");
        plot.file(file.as_bytes(), file.as_bytes())?;
        plot.mode(file.as_bytes(), mode)?;
        plot.folder(format!("folder-{mode:04o}").as_bytes(), mode)?;
    }
    Ok(())
}

/// Owners with and without a name, up to the largest number; set-user bits survive them.
fn owners(plot: &mut Plot) -> io::Result<()> {
    if !plot.is_root() {
        plot.leave_out("owners", "needs root");
        return Ok(());
    }
    for (name, user, group) in [
        (&b"nobody"[..], 65_534, 65_534),
        (b"number", 54_321, 12_345),
        (b"largest", u32::MAX - 1, 1),
    ] {
        plot.file(name, name)?;
        plot.if_possible(&String::from_utf8_lossy(name), |plot| {
            plot.owner(name, user, group)?;
            plot.mode(name, 0o6755)
        })?;
    }
    plot.symlink(b"link", b"nobody")?;
    plot.folder(b"folder", 0o3770)?;
    plot.special(b"pipe", FileType::Fifo, 0)?;
    for path in [&b"link"[..], b"folder", b"pipe"] {
        plot.owner(path, 1234, 5678)?;
    }
    plot.mode(b"folder", 0o3770)
}

/// Before 1970, beyond 2038, single nanoseconds; of files, folders, links and specials.
fn times(plot: &mut Plot) -> io::Result<()> {
    for (name, seconds, nanos) in [
        (&b"epoch"[..], 0, 0),
        (b"one-nanosecond", 0, 1),
        (b"last-nanosecond", 1_700_000_000, 999_999_999),
        (b"before-1970", -1, 999_999_999),
        (b"1902", -2_147_483_648, 500_000_000),
        (b"2038", 2_147_483_648, 1),
        (b"2106", 4_294_967_296, 2),
        (b"2400", 13_569_465_600, 3),
    ] {
        plot.file(name, name)?;
        plot.if_possible(&String::from_utf8_lossy(name), |plot| plot.times(name, seconds, nanos))?;
    }
    plot.folder(b"folder", 0o755)?;
    plot.file(b"folder/newer-than-its-folder", b"")?;
    plot.symlink(b"link", b"epoch")?;
    plot.special(b"pipe", FileType::Fifo, 0)?;
    for (path, nanos) in [(&b"folder"[..], 11), (b"link", 12), (b"pipe", 13)] {
        plot.times(path, 500_000_000, nanos)?;
    }
    Ok(())
}
