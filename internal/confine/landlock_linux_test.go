package confine

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKernels asks kernels that aren't this one.
func TestKernels(t *testing.T) {
	const upToSymlinks = 1<<13 - 1
	const refer, truncate, ioctl = 1 << 13, 1 << 14, 1 << 15
	for name, test := range map[string]struct {
		abi  int
		err  error
		want landlock
		text string // of the error, or of what it can do
	}{
		"none":         {err: unix.ENOSYS, text: "without it"},
		"switched off": {err: unix.EOPNOTSUPP, text: "switched off"},
		"hidden":       {err: unix.EPERM, text: "not permitted"},
		"5.13":         {abi: 1, want: landlock{abi: 1, files: upToSymlinks}, text: "Landlock ABI 1 (files)"},
		"5.19":         {abi: 2, want: landlock{abi: 2, files: upToSymlinks | refer}, text: "ABI 2 (files)"},
		"6.2":          {abi: 3, want: landlock{abi: 3, files: upToSymlinks | refer | truncate}, text: "ABI 3 (files)"},
		"6.7":          {abi: 4, want: landlock{abi: 4, files: upToSymlinks | refer | truncate}, text: "ABI 4 (files)"},
		"6.10":         {abi: 5, want: landlock{abi: 5, files: upToSymlinks | refer | truncate | ioctl}, text: "ABI 5 (files)"},
		"6.12":         {abi: 6, want: landlock{abi: 6, files: upToSymlinks | refer | truncate | ioctl, scopes: 3}, text: "ABI 6 (files, signals)"},
		"the future":   {abi: 99, want: landlock{abi: 99, files: upToSymlinks | refer | truncate | ioctl, scopes: 3}, text: "ABI 99"},
	} {
		t.Run(name, func(t *testing.T) {
			on := func() (landlock, error) { return ask(func(uintptr) (int, error) { return test.abi, test.err }) }
			got, err := on()
			held, what := holdsOn(on)
			if got != test.want || (err != nil) != (test.err != nil) || held != (err == nil) {
				t.Errorf("ask = %+v, %v, holds: %t", got, err, held)
			}
			if !strings.Contains(what, test.text) || !strings.Contains(what, "resource limits") {
				t.Errorf("says %q", what)
			}
		})
	}
}

// TestRulesets makes the rulesets of all kernels on this one, which knows what
// older ones know.
func TestRulesets(t *testing.T) {
	newest := needLandlock(t)
	rules := Machine()
	rules.Add(Rules{Write: []string{t.TempDir()}})
	for abi := 1; abi <= newest.abi; abi++ {
		l, err := ask(func(uintptr) (int, error) { return abi, nil })
		if err != nil {
			t.Fatal(err)
		}
		set, err := l.ruleset(rules)
		if err != nil {
			t.Errorf("ABI %d: %v", abi, err)
			continue
		}
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRequire fails without Landlock, and only then.
func TestRequire(t *testing.T) {
	if _, err := newOn(func() error { return os.ErrInvalid }, Require); err == nil {
		t.Error("no error on a kernel without Landlock")
	}
	for _, mode := range []Mode{Auto, Off, ""} {
		if _, err := newOn(func() error { return os.ErrInvalid }, mode); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if _, err := newOn(func() error { return nil }, Require); err != nil {
		t.Error(err)
	}
}
