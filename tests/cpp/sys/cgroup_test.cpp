// Tests of sys/cgroup.hpp and sys/text_file.hpp: recorded files of machines with version 1, version 2, both, and of containers; and this machine.
#include "sys/cgroup.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <stdlib.h>

#include "sys/text_file.hpp"

namespace holdfast::sys {
namespace {

namespace fs = std::filesystem;
using Folders = std::vector<std::string>;

/// A machine of files: what /proc/self says, with "@" for the folder that stands for its root, and the cgroup file system.
class Recorded : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/holdfast-cgroup-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }
  void proc(const std::string& cgroup, std::string mountinfo) {
    for (std::size_t at = 0; (at = mountinfo.find('@')) != std::string::npos;) mountinfo.replace(at, 1, root_);
    write("proc/cgroup", cgroup);
    write("proc/mountinfo", mountinfo);
  }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_ + "/" + path).parent_path());
    std::ofstream(root_ + "/" + path) << text;
  }
  std::string at(const std::string& path) const { return root_ + path; }
  CgroupPlace find(std::string_view controller = "memory") const { return find_cgroup(controller, root_ + "/proc"); }
  OomCounter counter() const { return OomCounter::open(find(), root_ + "/proc/vmstat"); }
  std::string root_;
};

constexpr const char* kVersion1Mounts =
    "31 23 0:28 / @/sys rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / @/sys/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / @/sys/memory rw,relatime shared:11 master:3 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / @/sys/unified rw,relatime - cgroup2 cgroup2 rw\n";
constexpr const char* kVersion2Mounts = "30 23 0:26 / @/sys rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

using CgroupPaths = Recorded;

TEST_F(CgroupPaths, OfVersion1AreThoseOfTheController) {
  proc("9:name=systemd:/s\n4:memory:/user/job\n1:cpu,cpuacct:/\n0::/u\n", kVersion1Mounts);
  fs::create_directories(at("/sys/memory/user/job"));
  const auto memory = find();
  EXPECT_EQ(memory.version, 1);
  EXPECT_EQ(memory.folders, (Folders{at("/sys/memory/user/job"), at("/sys/memory/user"), at("/sys/memory")}));
  fs::create_directories(at("/sys/cpu,cpuacct"));
  EXPECT_EQ(find("cpu").folders, Folders{at("/sys/cpu,cpuacct")});
}

TEST_F(CgroupPaths, OfVersion2AreTheOnesOfAllControllers) {
  proc("0::/system.slice/app.service\n", kVersion2Mounts);
  fs::create_directories(at("/sys/system.slice/app.service"));
  const auto memory = find();
  EXPECT_EQ(memory.version, 2);
  EXPECT_EQ(memory.folders, (Folders{at("/sys/system.slice/app.service"), at("/sys/system.slice"), at("/sys")}));
}

TEST_F(CgroupPaths, InAContainerAreLessTheRootOfTheMount) {
  proc("4:memory:/docker/abc/inner\n", "35 31 0:32 /docker/abc @/sys/memory ro - cgroup cgroup rw,memory\n");
  fs::create_directories(at("/sys/memory/inner"));
  EXPECT_EQ(find().folders, (Folders{at("/sys/memory/inner"), at("/sys/memory")}));
}

TEST_F(CgroupPaths, OfAFolderThatIsNotThereAreTheMount) {
  proc("4:memory:/docker/abc\n", "35 31 0:32 / @/sys/memory ro - cgroup cgroup rw,memory\n");
  fs::create_directories(at("/sys/memory"));
  EXPECT_EQ(find().folders, Folders{at("/sys/memory")});
}

TEST_F(CgroupPaths, OutsideTheMountedPartAreTheMount) {
  proc("0::/../other\n", "35 31 0:32 /docker/abc @/sys ro - cgroup2 cgroup2 rw\n");
  fs::create_directories(at("/sys"));
  EXPECT_EQ(find().folders, Folders{at("/sys")});
  proc("0::/docker/abcdef\n", "35 31 0:32 /docker/abc @/sys ro - cgroup2 cgroup2 rw\n");  // begins alike, and is another
  EXPECT_EQ(find().folders, Folders{at("/sys")});
}

TEST_F(CgroupPaths, MayHaveBlanksAndColons) {
  proc("4:memory:/a b:c\n", "35 31 0:32 / @/my\\040sys/memory rw - cgroup cgroup rw,memory\n");
  fs::create_directories(at("/my sys/memory/a b:c"));
  EXPECT_EQ(find().folders.front(), at("/my sys/memory/a b:c"));
}

TEST_F(CgroupPaths, AreNoneWhereThereIsNoSuchController) {
  proc("1:cpu:/\n", "32 31 0:29 / @/sys/cpu rw - cgroup cgroup rw,cpu\n");
  EXPECT_EQ(find().version, 0);
  EXPECT_TRUE(find().folders.empty());
  EXPECT_EQ(find_cgroup("memory", at("/nowhere")).version, 0);
}

TEST_F(CgroupPaths, AreNoneForNonsense) {
  proc(":::::\n\n4\nmemory\n", "\n- -\n1 2 3\n35 31 0:32 / - cgroup\n35 31 0:32 / /x rw - \n");
  EXPECT_EQ(find().version, 0);
}

using OomCounterFile = Recorded;

TEST_F(OomCounterFile, OfVersion1IsOomControl) {
  proc("4:memory:/job\n", kVersion1Mounts);
  write("sys/memory/job/memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n");
  const auto counted = counter();
  EXPECT_EQ(counted.source(), OomCounter::Source::cgroup);
  EXPECT_EQ(counted.read(), 3U);
  write("sys/memory/job/memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 5\n");
  EXPECT_EQ(counted.read(), 5U) << "the same descriptor, read again";
}

TEST_F(OomCounterFile, OfVersion2IsTheLocalOneWhereThereIsOne) {
  proc("0::/job\n", kVersion2Mounts);
  write("sys/job/memory.events", "low 0\nhigh 0\nmax 12\noom 4\noom_kill 9\noom_group_kill 0\n");
  EXPECT_EQ(counter().read(), 9U);
  write("sys/job/memory.events.local", "low 0\nhigh 0\nmax 12\noom 4\noom_kill 2\noom_group_kill 0\n");
  EXPECT_EQ(counter().read(), 2U);
}

TEST_F(OomCounterFile, OfVersion2IsTheNextOneAboveThatCountsMemory) {
  proc("0::/slice/job\n", kVersion2Mounts);
  fs::create_directories(at("/sys/slice/job"));
  write("sys/slice/memory.events.local", "oom 4\noom_kill 6\n");
  EXPECT_EQ(counter().read(), 6U);
  EXPECT_EQ(counter().source(), OomCounter::Source::cgroup);
}

TEST_F(OomCounterFile, ElseIsTheMachines) {
  write("proc/vmstat", "nr_free_pages 7\noom_kill 11\n");
  proc("0::/\n", kVersion2Mounts);  // the root of version 2 has no memory.events
  fs::create_directories(at("/sys"));
  EXPECT_EQ(counter().source(), OomCounter::Source::machine);
  EXPECT_EQ(counter().read(), 11U);
  proc("4:memory:/job\n", kVersion1Mounts);  // a kernel before 4.13
  write("sys/memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
  EXPECT_EQ(counter().source(), OomCounter::Source::machine);
}

TEST_F(OomCounterFile, IsNoneWhereNothingCounts) {
  proc("", "");
  EXPECT_EQ(counter().source(), OomCounter::Source::none);
  EXPECT_EQ(counter().read(), std::nullopt);
  write("proc/vmstat", "nr_free_pages 7\n");
  EXPECT_EQ(counter().source(), OomCounter::Source::none);
}

using CpuQuota = Recorded;

TEST_F(CpuQuota, OfVersion1IsTheLeastOnTheWayUp) {
  proc("1:cpu,cpuacct:/a/b\n", kVersion1Mounts);
  write("sys/cpu,cpuacct/a/b/cpu.cfs_quota_us", "250000\n");
  write("sys/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpu_quota(find("cpu")), 2.5);
  write("sys/cpu,cpuacct/a/cpu.cfs_quota_us", "50000\n");
  write("sys/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpu_quota(find("cpu")), 0.5);
  write("sys/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cpu_quota(find("cpu")), 2.5);
}

TEST_F(CpuQuota, OfVersion2IsTheLeastOnTheWayUp) {
  proc("0::/a/b\n", kVersion2Mounts);
  write("sys/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(cpu_quota(find("cpu")), std::nullopt);
  write("sys/a/cpu.max", "150000 100000\n");
  EXPECT_EQ(cpu_quota(find("cpu")), 1.5);
  write("sys/a/b/cpu.max", "nonsense");
  EXPECT_EQ(cpu_quota(find("cpu")), 1.5);
  write("sys/a/b/cpu.max", "100000 0\n");
  EXPECT_EQ(cpu_quota(find("cpu")), 1.5);
}

TEST(AllowedCpus, AreTheAffinitysWithinTheQuota) {
  EXPECT_EQ(allowed_cpus(8, std::nullopt), 8U);
  EXPECT_EQ(allowed_cpus(8, 2.0), 2U);
  EXPECT_EQ(allowed_cpus(8, 1.5), 2U) << "half a processor is used by a second worker";
  EXPECT_EQ(allowed_cpus(8, 0.1), 1U);
  EXPECT_EQ(allowed_cpus(2, 64.0), 2U);
  EXPECT_EQ(allowed_cpus(2, 1e30), 2U);
  EXPECT_GE(allowed_cpus(), 1U);
}

TEST(CgroupHere, IsFoundAndCounts) {
  const OomCounter counted = OomCounter::open(find_cgroup("memory"));
  if (counted.source() == OomCounter::Source::none)
    GTEST_SKIP() << "neither a memory cgroup nor /proc/vmstat counts out-of-memory kills here";
  EXPECT_TRUE(counted.read().has_value());
}

TEST(NumberBehind, IsThatOfAWholeWordAtTheStartOfALine) {
  EXPECT_EQ(number_behind("oom_kill_disable 7\noom_kill 3\n", "oom_kill"), 3);
  EXPECT_EQ(number_behind("an oom_kill 7\n", "oom_kill"), std::nullopt);
  EXPECT_EQ(number_behind("MemTotal:  8 kB\nMemAvailable:     12 kB\n", "MemAvailable:"), 12);
  EXPECT_EQ(number_behind("low 0\n", "oom_kill"), std::nullopt);
  EXPECT_EQ(number_behind("oom_kill\n", "oom_kill"), std::nullopt);
  EXPECT_EQ(number_behind("oom_kill ", "oom_kill"), std::nullopt);
  EXPECT_EQ(number_behind("", "oom_kill"), std::nullopt);
}

}  // namespace
}  // namespace holdfast::sys
