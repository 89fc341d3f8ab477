package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/config"
)

func TestDatabase(t *testing.T) {
	if got := (&config.Data{DataDir: "d"}).Database(); got != filepath.Join("d", "claude-api.db") {
		t.Errorf("in the data folder: %s", got)
	}
	if got := (&config.Data{DataDir: "d", DBPath: "e/f.db"}).Database(); got != "e/f.db" {
		t.Errorf("named: %s", got)
	}
	t.Setenv("HOME", "/somewhere")
	if got := config.DefaultDataDir(); got != "/somewhere/.claude-api" {
		t.Errorf("the default: %s", got)
	}
	t.Setenv("HOME", "")
	if got := config.DefaultDataDir(); got != ".claude-api" {
		t.Errorf("without a HOME: %s", got)
	}
}

// planted is a password that no error may repeat.
const planted = "planted-password"

func urlFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDatabaseURL(t *testing.T) {
	const good = "postgres://u:" + planted + "@h:5432/d"
	for name, tt := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"none":         {},
		"a flag":       {args: []string{"--database-url", good}, want: good},
		"a variable":   {env: map[string]string{"CLAUDE_API_DATABASE_URL": good}, want: good},
		"a file":       {env: map[string]string{"CLAUDE_API_DATABASE_URL_FILE": urlFile(t, good+"\n")}, want: good},
		"a named file": {args: []string{"--database-url-file", urlFile(t, " "+good)}, want: good},
		"a flag against a variable": {
			env: map[string]string{"CLAUDE_API_DATABASE_URL": "postgres://other/d"}, args: []string{"--database-url", good}, want: good,
		},
		"what a password has to escape": {
			args: []string{"--database-url", "postgres://u:%40%2F%3F@h/d?sslrootcert=a@b"}, want: "postgres://u:%40%2F%3F@h/d?sslrootcert=a@b",
		},
		"several hosts": {
			args: []string{"--database-url", "postgres://u:p@h1:5432,h2:5432/d?target_session_attrs=read-write"},
			want: "postgres://u:p@h1:5432,h2:5432/d?target_session_attrs=read-write",
		},
		"the other scheme": {args: []string{"--database-url", "postgresql:///d?host=/run/postgresql"}, want: "postgresql:///d?host=/run/postgresql"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := parse(t, "", tt.env, tt.args...)
			if err != nil || c.DatabaseURL.Reveal() != tt.want {
				t.Fatalf("%q, %v; want %q", c.DatabaseURL.Reveal(), err, tt.want)
			}
			if err := c.Validate(); err != nil { // the program calls it again
				t.Error(err)
			}
		})
	}
	for name, tt := range map[string]struct {
		data config.Data
		want string
	}{
		"another database":      {config.Data{DatabaseURL: "mysql://u:" + planted + "@h/d"}, "--database-url: "},
		"no URL":                {config.Data{DatabaseURL: "host=h password=" + planted}, "--database-url: "},
		"no authority":          {config.Data{DatabaseURL: "postgres:" + planted}, "--database-url: "},
		"a port that is none":   {config.Data{DatabaseURL: "postgres://u:p@h:" + planted + "/d"}, "--database-url: "},
		"a control character":   {config.Data{DatabaseURL: "postgres://u:" + planted + "\n@h/d"}, "--database-url: "},
		"a bad escape":          {config.Data{DatabaseURL: "postgres://u:" + planted + "%zz@h/d"}, "--database-url: "},
		"another one in a file": {config.Data{DatabaseURLFile: urlFile(t, "mysql://u:"+planted+"@h/d")}, "--database-url-file: "},
		"an @ in a password":    {config.Data{DatabaseURL: "postgres://u:a@" + planted + "@h/d"}, "--database-url: "},
		"a slash in a password": {config.Data{DatabaseURL: "postgres://u:1/" + planted + "@h/d"}, "--database-url: "},
		"a ? in a password":     {config.Data{DatabaseURL: "postgres://u:1?" + planted + "@h/d"}, "--database-url: "},
		"an empty file":         {config.Data{DatabaseURLFile: urlFile(t, "\n")}, "--database-url-file: the file is empty"},
		"no such file":          {config.Data{DatabaseURLFile: "/absent/url"}, "--database-url-file: "},
		"both":                  {config.Data{DatabaseURL: "postgres://h/" + planted, DatabaseURLFile: urlFile(t, planted)}, "--database-url: "},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.data.Validate()
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), planted) {
				t.Errorf("got %v, want %q, without the URL", err, tt.want)
			}
			c := valid()
			c.Data = tt.data
			if err := c.Validate(); err == nil {
				t.Error("the configuration with it is valid")
			}
		})
	}
}
