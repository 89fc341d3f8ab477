package agent_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/gateway"
)

// TestRunWorksWithFiles writes, reads and edits one file, and makes another with the
// shell.
func TestRunWorksWithFiles(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		folder := t.TempDir()
		write(t, folder, map[string]string{"old": "as it was\n", "untouched": "x"})
		prompt := steps(
			call("Write", map[string]any{"file_path": filepath.Join(folder, "new.txt"), "content": "one\n"}),
			call("Read", map[string]any{"file_path": filepath.Join(folder, "old")}),
			call("Edit", map[string]any{"file_path": filepath.Join(folder, "old"), "old_string": "as it was", "new_string": "as it is"}),
			call("Bash", map[string]any{"command": "mkdir deep && echo two > deep/er && pwd"}),
			"[[text=All is done]]",
		)
		want := spec("key_1", prompt)
		want.Directory = folder
		h := &heard{}
		o, err := s.Run(t.Context(), want, h)
		if err != nil {
			t.Fatal(err)
		}
		if o.End != agent.EndCompleted || o.Text != "All is done" || o.Turns != 5 || o.Session == "" || o.Workspace != "" || o.Model != testModel {
			t.Errorf("outcome = %+v", o)
		}
		if o.CostMicroUSD == nil || *o.CostMicroUSD <= 0 || o.Usage.OutputTokens == 0 || len(o.Denials) != 0 {
			t.Errorf("outcome = %+v", o)
		}
		if got, want := h.log(), "use Write\nresult\nuse Read\nresult\nuse Edit\nresult\nuse Bash\nresult\ntext All is done"; got != want {
			t.Errorf("log:\n%s\nresults:\n%s", got, h.results())
		}
		var artifacts []string
		for _, a := range o.Artifacts {
			artifacts = append(artifacts, fmt.Sprintf("%s %s %d %v", a.Change, a.Path, a.Bytes, a.Kept))
		}
		if got := strings.Join(artifacts, ", "); got != "created deep/er 4 true, created new.txt 4 true, modified old 9 true" {
			t.Errorf("artifacts: %s", got)
		}
		file, _, err := s.Artifact("key_1", want.ID, "old")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		if data, err := io.ReadAll(file); err != nil || string(data) != "as it is\n" {
			t.Errorf("%q, %v", data, err)
		}
		if left, err := os.ReadDir(s.root); err != nil || len(left) != 0 {
			t.Errorf("left of its process: %v, %v", left, err)
		}
		if started := h.events[0]; started.Type != agent.EventStarted || started.Session != o.Session || !strings.Contains(h.results(), folder) {
			t.Errorf("began with %+v", started)
		}
	})
}

// TestRunIsHeldToItsPolicy uses tools that it may not, and files that it may not.
func TestRunIsHeldToItsPolicy(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		secret := filepath.Join(t.TempDir(), "secret")
		folder := t.TempDir()
		write(t, filepath.Dir(secret), map[string]string{"secret": "a word that nobody may read"})
		write(t, folder, map[string]string{"inside": "x"})
		if err := os.Symlink(secret, filepath.Join(folder, "link")); err != nil {
			t.Fatal(err)
		}
		want := spec("key_1", steps(
			call("Read", map[string]any{"file_path": filepath.Join(folder, "link")}),
			call("Read", map[string]any{"file_path": secret}),
			call("Grep", map[string]any{"pattern": "word", "path": filepath.Dir(secret), "output_mode": "content"}),
			call("Glob", map[string]any{"pattern": filepath.Dir(secret) + "/*"}),
			call("Bash", map[string]any{"command": "cat inside"}),
			call("Bash", map[string]any{"command": "echo a; echo b > made"}),
			call("Bash", map[string]any{"command": "echo a; echo b"}),
			"[[text=over]]",
		))
		want.Directory = folder
		want.Tools = []string{"Read", "Grep", "Glob", "Bash(echo:*)"}
		h := &heard{}
		o, err := s.Run(t.Context(), want, h)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(h.results(), "nobody may read") || o.Text != "over" {
			t.Errorf("%s\n%s", o.Text, h.results())
		}
		if got, want := h.log(), "use Read\nerror\nuse Read\nerror\nuse Grep\nerror\nuse Glob\nerror\nuse Bash\nerror\nuse Bash\nerror\nuse Bash\nresult\ntext over"; got != want {
			t.Errorf("log:\n%s\n%s", got, h.results())
		}
		if len(o.Artifacts) != 0 || len(h.asked) != 0 {
			t.Errorf("%v, %v", o.Artifacts, h.asked)
		}
		if len(o.Denials) != 6 || o.Denials[4].Tool != "Bash" {
			t.Errorf("denials: %+v", o.Denials)
		}
		if got := strings.Join(h.events[0].Tools, " "); strings.Contains(got, "Write") || !strings.Contains(got, "Bash") {
			t.Errorf("offered: %s", got)
		}
	})
}

// TestWhatAProfileBlocks by a rule stays blocked where the bare tool is allowed.
func TestWhatAProfileBlocks(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		want := spec("key_1", steps(
			call("Bash", map[string]any{"command": "rm kept"}), call("Bash", map[string]any{"command": "echo x; rm kept"}),
			call("Bash", map[string]any{"command": "ls"}), "[[text=over]]",
		))
		want.Directory = t.TempDir()
		write(t, want.Directory, map[string]string{"kept": "x"})
		blocking := everything
		blocking.BlockedTools = []string{"Bash(rm:*)"}
		want.Caller = &gateway.Caller{KeyID: "key_1", ProjectID: "alpha", Permissions: blocking}
		h := &heard{}
		if _, err := s.Run(t.Context(), want, h); err != nil {
			t.Fatal(err)
		}
		if got, want := h.log(), "use Bash\nerror\nuse Bash\nerror\nuse Bash\nresult\ntext over"; got != want || !strings.Contains(h.results(), "kept") {
			t.Errorf("%s\n%s", got, h.results())
		}
	})
}

// TestAFolderIsSwapped for a link after it was allowed, as another run in the folder
// above can do: nothing is started in it, or kept of it.
func TestAFolderIsSwapped(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		top, elsewhere := t.TempDir(), t.TempDir()
		folder := filepath.Join(top, "sub")
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		want := spec("key_1", call("Bash", map[string]any{"command": "echo x > made"}))
		want.Directory = folder
		swap := func() {
			if err := errors.Join(os.RemoveAll(folder), os.Symlink(elsewhere, folder)); err != nil {
				t.Fatal(err)
			}
		}
		c, err := s.Open(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		swap()
		o, err := c.Turn(t.Context(), want.ID, want.Prompt, &heard{})
		if e := apierror.From(err); e == nil || e.Category != apierror.Permission || e.Param != "working_directory" || len(o.Artifacts) != 0 {
			t.Errorf("a turn: %+v, %v", o, err)
		}
		_, err = s.Run(t.Context(), want, &heard{})
		if e := apierror.From(err); e == nil || e.Category != apierror.Permission || e.Param != "working_directory" {
			t.Errorf("a run: %v", err)
		}
		if left, err := os.ReadDir(elsewhere); err != nil || len(left) != 0 {
			t.Errorf("%v, %v", left, err)
		}
	})
}

// TestNoProcess can be started: whoever wanted a run hears of it, and nothing is left.
func TestNoProcess(t *testing.T) {
	for name, change := range map[string]func(o *agent.Options){
		"no program":                func(o *agent.Options) { o.Process.Path = "/nonexistent/claude" },
		"no folder for a process's": func(o *agent.Options) { o.Process.Root = "/nonexistent" },
	} {
		s := newService(t, clitest.Versions[0], nil, change)
		if _, err := s.Run(t.Context(), spec("key_1", "hello"), &heard{}); apierror.From(err) == nil {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(filepath.Join(s.folder, "key_1", "work")); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}

// TestFilesAreNoRepository: a run that may write files and ask git, but run nothing else,
// makes of its folder what git takes for a repository with a program to run.
func TestFilesAreNoRepository(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		files := []string{"HEAD", "ref: refs/heads/main\n", "config", "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = \"echo x > made; false\"\n", "objects/x", "", "refs/x", ""}
		var prompt []string
		for i := 0; i < len(files); i += 2 {
			prompt = append(prompt, call("Write", map[string]any{"file_path": files[i], "content": files[i+1]}))
		}
		want, h := spec("key_1", steps(append(prompt, call("Bash", map[string]any{"command": "git status"}), "[[text=over]]")...)), &heard{}
		want.Directory, want.Tools = t.TempDir(), []string{"Write", "Bash(git status:*)"}
		if _, err := s.Run(t.Context(), want, h); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(want.Directory, "made")); err == nil || !strings.Contains(h.results(), "safe.bareRepository") {
			t.Errorf("%v: %s", err, h.results())
		}
	})
}
