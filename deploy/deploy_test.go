package deploy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"claude-code-api-service/internal/claudecli/install"
)

// root is the repository's.
const root = ".."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func decode(t *testing.T, path string, into any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(read(t, path)))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestTheReleaseNamesWhatThereIs holds every path, variable and command of goreleaser's
// configuration against the repository. goreleaser itself judges its form: make
// release-check.
func TestTheReleaseNamesWhatThereIs(t *testing.T) {
	var c struct {
		Before struct{ Hooks []string }
		Builds []struct {
			Main    string
			Ldflags []string
		}
		Archives []struct{ Files []any }
		NFPMs    []struct {
			Contents []struct{ Src, Dst string }
			Scripts  map[string]string
		} `yaml:"nfpms"`
		Images []struct {
			Dockerfile string
			BuildArgs  map[string]string `yaml:"build_args"`
		} `yaml:"dockers_v2"`
	}
	if err := yaml.Unmarshal([]byte(read(t, ".goreleaser.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, file := range c.Archives[0].Files {
		switch f := file.(type) {
		case string:
			sources = append(sources, f)
		case map[string]any:
			sources = append(sources, f["src"].(string))
		}
	}
	for _, content := range c.NFPMs[0].Contents {
		sources = append(sources, content.Src)
	}
	for _, script := range c.NFPMs[0].Scripts {
		sources = append(sources, script)
	}
	sources = append(sources, c.Builds[0].Main, c.Images[0].Dockerfile)
	made := strings.Join(c.Before.Hooks, "\n")
	for _, source := range sources {
		if folder, ok := strings.CutPrefix(source, ".release/"); ok {
			name, _, _ := strings.Cut(folder, "/")
			if !strings.Contains(made, "--dir=.release/"+name) {
				t.Errorf("nobody makes %s", source)
			}
			continue
		}
		if found, err := filepath.Glob(filepath.Join(root, source)); err != nil || len(found) == 0 {
			t.Errorf("there is no %s (%v)", source, err)
		}
	}
	if len(sources) < 20 {
		t.Errorf("only %d paths: they aren't found", len(sources))
	}

	// The linker passes over a variable that there isn't.
	variables := read(t, "internal/app/version.go")
	for _, flag := range c.Builds[0].Ldflags {
		found := regexp.MustCompile(`^-X claude-code-api-service/internal/app\.(\w+)=`).FindStringSubmatch(flag)
		if strings.HasPrefix(flag, "-X") && (found == nil || !regexp.MustCompile(`(?m)^\t`+found[1]+` +(=|string)`).MatchString(variables)) {
			t.Errorf("%s: no such variable", flag)
		}
	}
	// A path of a unit that a package puts elsewhere would be found by nobody.
	for _, content := range c.NFPMs[0].Contents {
		if strings.HasPrefix(content.Src, "deploy/systemd/") && !strings.HasPrefix(content.Dst, "/usr/lib/") {
			t.Errorf("%s goes to %s", content.Src, content.Dst)
		}
	}
	if c.Images[0].BuildArgs["PROGRAM"] != "prebuilt" {
		t.Error("the image would build the program anew")
	}
}

// secret finds what may not be in an image's description.
var secret = regexp.MustCompile(`(?m)^(ENV|ARG) .*(API_KEY|AUTH_TOKEN|SECRET|PASSWORD)\w*[= ]`)

func TestDockerfile(t *testing.T) {
	text := read(t, "deploy/docker/Dockerfile")
	if !strings.Contains(text, "\nARG CLAUDE_VERSION="+install.Version+"\n") {
		t.Errorf("the image's CLI isn't %s, which the service is tested with", install.Version)
	}
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	if !strings.Contains(text, " golang:"+goVersion+"-") {
		t.Errorf("the image isn't built with Go %s, which go.mod names", goVersion)
	}
	if found := secret.FindString(text); found != "" {
		t.Errorf("a secret in a layer: %s", found)
	}
	_, last, _ := strings.Cut(text, "\nFROM debian:")
	for _, want := range []string{"\nUSER 10001:10001\n", "\nHEALTHCHECK ", `CMD ["claude-api", "health", "ping"]`, "\nENTRYPOINT [", "\nVOLUME /data\n"} {
		if !strings.Contains(last, want) {
			t.Errorf("the image has no %q", want)
		}
	}
	if after := last[strings.Index(last, "\nUSER "):]; strings.Contains(after, "\nRUN ") || strings.Contains(after, "\nCOPY ") {
		t.Error("something is written behind USER")
	}
	// What a later stage takes from an earlier one has been put there.
	for _, from := range regexp.MustCompile(`(?m)^COPY --from=(\w+) (\S+)`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(text, " AS "+from[1]+"\n") || strings.Count(text, from[2]) < 2 {
			t.Errorf("nobody has made %s of %s", from[2], from[1])
		}
	}
	// The context has every folder that the program is built from.
	ignored := read(t, ".dockerignore")
	for _, folder := range []string{"cmd", "client", "deploy", "internal", "go.mod", "go.sum"} {
		if !strings.Contains(ignored, "\n!"+folder+"\n") {
			t.Errorf(".dockerignore keeps %s out", folder)
		}
	}
	if !strings.HasPrefix(strings.TrimLeft(regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(ignored, ""), "\n"), "*\n") {
		t.Error(".dockerignore isn't a list of what is allowed")
	}
}

// TestTheImageHasAllPackages: the program imports nothing from a folder that isn't in
// the image's context.
func TestTheImageHasAllPackages(t *testing.T) {
	allowed := []string{"cmd", "client", "deploy", "internal"}
	imports := regexp.MustCompile(`"claude-code-api-service/(\w+)`)
	err := filepath.WalkDir(filepath.Join(root, "cmd"), func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range imports.FindAllSubmatch(text, -1) {
			if !slices.Contains(allowed, string(found[1])) {
				t.Errorf("%s imports %s", path, found[1])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// composed is what is used of a compose file (the Compose Specification).
type composed struct {
	Name     string
	Services map[string]struct {
		Image string
		Build struct{ Context, Dockerfile string }
		// DependsOn is by service.
		DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
		Ports           []string
		Environment     map[string]string
		Secrets         []string
		Volumes         []string
		ReadOnly        bool `yaml:"read_only"`
		Tmpfs           []string
		CapDrop         []string `yaml:"cap_drop"`
		SecurityOpt     []string `yaml:"security_opt"`
		PIDsLimit       int      `yaml:"pids_limit"`
		StopGracePeriod string   `yaml:"stop_grace_period"`
		Restart         string
		Healthcheck     struct {
			Test              []string
			Interval, Timeout string
			Retries           int
		}
	}
	Volumes map[string]any
	Secrets map[string]struct{ File string }
}

func TestCompose(t *testing.T) {
	var c composed
	decode(t, "deploy/docker/compose.yaml", &c)
	ignored := read(t, ".gitignore")
	for name, s := range c.Services {
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: the port %s is open to others than this machine", name, port)
			}
		}
		for _, wanted := range s.Secrets {
			if file := c.Secrets[wanted].File; !strings.HasPrefix(file, "./secrets/") {
				t.Errorf("%s: the secret %s is in %q", name, wanted, file)
			}
		}
		for variable, value := range s.Environment {
			if path, ok := strings.CutPrefix(value, "/run/secrets/"); ok != strings.HasSuffix(variable, "_FILE") || ok && !slices.Contains(s.Secrets, path) {
				t.Errorf("%s: %s=%s", name, variable, value)
			}
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, ok := c.Volumes[source]; !ok {
				t.Errorf("%s: there is no volume %s", name, source)
			}
		}
		for on, d := range s.DependsOn {
			if d.Condition != "service_healthy" || len(c.Services[on].Healthcheck.Test) == 0 {
				t.Errorf("%s doesn't wait until %s is healthy", name, on)
			}
		}
	}
	own := c.Services["claude-api"]
	if !own.ReadOnly || !slices.Equal(own.CapDrop, []string{"ALL"}) || own.StopGracePeriod != "45s" || len(own.Tmpfs) != 1 {
		t.Errorf("the service: %+v", own)
	}
	if _, err := os.Stat(filepath.Join("docker", own.Build.Context, own.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(ignored, "\n/deploy/docker/secrets/\n") {
		t.Error("git doesn't pass over the secrets")
	}
}

// TestWorkflows: actions are pinned to what was read, and nothing but the token that
// GitHub makes for a run is a secret there.
func TestWorkflows(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(root, ".github/workflows/*.yml"))
	if err != nil || len(paths) < 2 {
		t.Fatalf("%v, %v", paths, err)
	}
	pinned := regexp.MustCompile(`^\s*- uses: \S+@[0-9a-f]{40} # v\d`)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var workflow map[string]any
		if err := yaml.Unmarshal(text, &workflow); err != nil || workflow["jobs"] == nil || workflow["permissions"] == nil {
			t.Errorf("%s: %v", path, err)
		}
		for line := range bytes.Lines(text) {
			if bytes.Contains(line, []byte("uses:")) && !pinned.Match(line) {
				t.Errorf("%s: %s isn't pinned", path, line)
			}
		}
		if bytes.Contains(text, []byte("secrets.")) {
			t.Errorf("%s needs a secret", path)
		}
	}
}

// The version of goreleaser is the same wherever it is named.
func TestOneGoreleaser(t *testing.T) {
	for _, path := range []string{"Makefile", ".goreleaser.yaml"} {
		if !strings.Contains(read(t, path), "v2.15.1") {
			t.Errorf("%s names another goreleaser", path)
		}
	}
	if !strings.Contains(read(t, ".github/workflows/release.yml"), "make release\n") {
		t.Error("the workflow doesn't release as the Makefile does")
	}
}
