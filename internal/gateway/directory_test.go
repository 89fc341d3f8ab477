package gateway_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

func TestWhereTasksMayWork(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(path string) string { return filepath.Join(base, path) }
	for _, folder := range []string{"root/a/deep", "root/b", "other"} {
		if err := os.MkdirAll(at(folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"root/a/out": "other", "root/a/over": "root/b", "way": "root/a", "root/a/in": "root/a/deep"} {
		if err := os.Symlink(at(to), at(link)); err != nil {
			t.Fatal(err)
		}
	}
	only := gateway.Permissions{WorkingDirectories: []string{at("root/a")}}
	linked := gateway.Permissions{WorkingDirectories: []string{at("way")}}
	all := gateway.Permissions{WorkingDirectories: []string{gateway.All}}
	for _, test := range []struct {
		name        string
		permissions gateway.Permissions
		path, want  string // want "": refused
		noRoots     bool
	}{
		{name: "the profile's folder", permissions: only, path: "root/a", want: "root/a"},
		{name: "below it", permissions: only, path: "root/a/deep", want: "root/a/deep"},
		{name: "a link that stays", permissions: only, path: "root/a/in", want: "root/a/deep"},
		{name: "a link to another of the root's folders", permissions: only, path: "root/a/over"},
		{name: "the same, with all folders allowed", permissions: all, path: "root/a/over", want: "root/b"},
		{name: "a link out of the root", permissions: all, path: "root/a/out"},
		{name: "below a link out of the root", permissions: only, path: "root/a/out/x"},
		{name: "a profile's folder that is a link", permissions: linked, path: "way/deep", want: "root/a/deep"},
		{name: "outside", permissions: all, path: "other"},
		{name: "not there", permissions: all, path: "root/nothing"},
		{name: "above the root", permissions: all, path: ""},
		{name: "no roots", permissions: all, path: "root/a", noRoots: true},
		{name: "nothing allowed", permissions: gateway.Permissions{}, path: "root/a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := gateway.New(gateway.Options{Roots: []string{at("root")}})
			if test.noRoots {
				g.Roots = nil
			}
			got, err := g.Directory(&gateway.Caller{Permissions: test.permissions}, at(test.path))
			if test.want != "" {
				if err != nil || got != at(test.want) {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			var e *apierror.Error
			if got != "" || !errors.As(err, &e) || e.Category != apierror.Permission || e.Param != "working_directory" {
				t.Errorf("got %q, %v, want a refusal", got, err)
			}
		})
	}
}
