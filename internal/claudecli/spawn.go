package claudecli

import (
	"os/exec"
	"runtime"
	"sync"
)

// spawner starts every child from one operating-system thread that lives as
// long as the program: the parent-death signal is tied to the thread that
// started the child, and would come when that thread ends (golang/go#27505).
var spawner = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go runOnOneThread(jobs)
	return jobs
})

func runOnOneThread(jobs <-chan func()) {
	runtime.LockOSThread()
	for job := range jobs {
		job()
	}
}

func startOnSpawner(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	spawner() <- func() { started <- cmd.Start() }
	return <-started
}
