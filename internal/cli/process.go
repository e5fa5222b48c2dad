package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// processToken names this process for as long as the machine runs: boot, process namespace, id and start time. It is
// empty where /proc cannot tell.
func processToken() string { return tokenOf(os.Getpid()) }

func tokenOf(pid int) string {
	where := processSpace()
	start := startTime(pid)
	if where == "" || start == "" {
		return ""
	}
	return fmt.Sprintf("%s/%d/%s", where, pid, start)
}

// processSpace names the boot and the process namespace: ids mean the same process only within it.
func processSpace() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + ns
}

// startTime is field 22 of /proc/PID/stat (proc(5)), counted after the command's closing parenthesis, in clock ticks.
func startTime(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	i := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[i+1:])
	const startField = 22 - 3
	if i < 0 || len(fields) <= startField || string(fields[0]) == "Z" {
		return ""
	}
	return string(fields[startField])
}

// processGone tells for certain that the process a token names has ended: it ran on this very machine, since this boot, in
// this process namespace, and is not there any more. Anything else may be alive.
func processGone(token string) bool {
	where := processSpace()
	rest, here := strings.CutPrefix(token, where+"/")
	if where == "" || !here {
		return false
	}
	var pid int
	var start string
	if n, err := fmt.Sscanf(strings.Replace(rest, "/", " ", 1), "%d %s", &pid, &start); n != 2 || err != nil {
		return false
	}
	now := startTime(pid)
	if now == "" && !ended(pid) { // /proc may hide the processes of other users (hidepid)
		return false
	}
	return now != start
}

// ended asks the system itself, which tells of every process whether it is there. A zombie is not.
func ended(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		i := bytes.LastIndexByte(stat, ')')
		return bytes.HasPrefix(bytes.TrimSpace(stat[i+1:]), []byte("Z"))
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return errors.Is(err, os.ErrProcessDone)
	}
	defer p.Release()
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}
