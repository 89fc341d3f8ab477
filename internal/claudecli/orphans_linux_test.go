package claudecli_test

import (
	"os/exec"
	"syscall"
	"testing"

	"claude-code-api-service/internal/claudecli"
)

func TestKillMarked(t *testing.T) {
	start := func(marker string, attributes syscall.SysProcAttr) (pid int, ended <-chan error) {
		t.Helper()
		cmd := exec.Command("/bin/sleep", "600")
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		if marker != "" {
			cmd.Env = append(cmd.Env, "CLAUDE_API_WORKER="+marker)
		}
		cmd.SysProcAttr = &attributes
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end := make(chan error, 1)
		go func() { end <- cmd.Wait() }()
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd.Process.Pid, end
	}
	const former, other = "0123456789abcdef", "fedcba9876543210"
	worker, workerEnded := start(former, syscall.SysProcAttr{Setpgid: true})
	_, memberEnded := start("", syscall.SysProcAttr{Setpgid: true, Pgid: worker})
	_, detachedEnded := start(former, syscall.SysProcAttr{Setsid: true})
	running, runningEnded := start(other, syscall.SysProcAttr{Setpgid: true})
	_, guestEnded := start(former, syscall.SysProcAttr{Setpgid: true, Pgid: running}) // it alone, not its host
	unmarked, unmarkedEnded := start("", syscall.SysProcAttr{Setpgid: true})

	killed, err := claudecli.KillMarked(former, "")
	if killed != 3 || err != nil {
		t.Errorf("killed %d, %v", killed, err)
	}
	for name, ended := range map[string]<-chan error{"the worker": workerEnded, "its group": memberEnded, "what left the group": detachedEnded, "the guest": guestEnded} {
		if err := <-ended; err == nil || err.Error() != "signal: killed" {
			t.Errorf("%s ended with %v", name, err)
		}
	}
	for pid, ended := range map[int]<-chan error{running: runningEnded, unmarked: unmarkedEnded} {
		select {
		case err := <-ended:
			t.Errorf("another process ended: %v", err)
		default:
			if err := syscall.Kill(pid, 0); err != nil {
				t.Error(err)
			}
		}
	}
	if killed, err := claudecli.KillMarked(former); killed != 0 || err != nil {
		t.Errorf("a second time: %d, %v", killed, err)
	}
	if killed, err := claudecli.KillMarked(other); killed != 1 || err != nil {
		t.Errorf("the other run: %d, %v", killed, err)
	}
	if err := <-runningEnded; err == nil {
		t.Error("the other run's process ended by itself")
	}
	if err := syscall.Kill(unmarked, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := <-unmarkedEnded; err == nil {
		t.Error("the unmarked process ended by itself")
	}
}
