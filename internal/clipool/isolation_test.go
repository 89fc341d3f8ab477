package clipool_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/simulator"
)

// TestNoWordReachesAnothersUpstream runs many callers at once on the real CLI
// and reads every body that reached the upstream: each may hold the words of
// one request only, whatever the pool's reuse, and also after callers that left
// in the middle and requests that the upstream refused.
func TestNoWordReachesAnothersUpstream(t *testing.T) {
	for _, test := range []struct {
		version string
		reuse   clipool.Reuse
		each    int // requests of each caller; the older CLI needs a process for each system prompt
	}{
		{install.Version, clipool.ReuseAlways, 12},
		{install.Version, clipool.ReuseSameProject, 6},
		{install.OlderVersion, clipool.ReuseAlways, 4},
	} {
		t.Run(test.version+" "+string(test.reuse), func(t *testing.T) {
			testIsolation(t, test.version, test.reuse, test.each)
		})
	}
}

func newRealPool(t testing.TB, version string, upstream *simulator.Simulator, change func(*clipool.Options)) *clipool.Pool {
	t.Helper()
	process := claudecli.Options{Path: clitest.Path(t, version), Root: t.TempDir(), Model: model}
	probe := clitest.NewUpstream(t)
	features, err := claudecli.Probe(t.Context(), process, probe)
	if err != nil {
		t.Fatal(err)
	}
	process.BaseURL, process.APIKey = upstream.URL(), "sk-simulator"
	options := clipool.Options{Workers: 3, Starting: runtime.NumCPU(), QueuePerWorker: 1_000, Process: process}
	if change != nil {
		change(&options)
	}
	p := clipool.New(options)
	t.Cleanup(p.Close)
	p.Start(features)
	return p
}

func testIsolation(t *testing.T, version string, reuse clipool.Reuse, each int) {
	const callers = 8
	upstream := clitest.NewUpstream(t)
	p := newRealPool(t, version, upstream, func(o *clipool.Options) { o.Reuse = reuse })
	mentioned := filepath.Join(t.TempDir(), "mentioned.txt")
	if err := os.WriteFile(mentioned, []byte(planted), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(caller), 7))
			for n := range each {
				isolated(t, p, upstream, random, fmt.Sprintf("c%dn%d", caller, n), caller%2, mentioned)
			}
		})
	}
	wg.Wait()
	words := regexp.MustCompile(`word-(c\d+n\d+)-`)
	seen := map[string]bool{}
	for _, body := range upstream.Bodies() {
		owners := map[string]bool{}
		for _, m := range words.FindAllSubmatch(body, -1) {
			owners[string(m[1])] = true
			seen[string(m[1])] = true
		}
		if len(owners) > 1 {
			t.Errorf("one upstream body holds the words of %v: %s", owners, body)
		}
	}
	for _, body := range upstream.Bodies() {
		// "/effort low" and "/model …" are text: no setting may come of them.
		var sent struct {
			Model  string `json:"model"`
			Output struct {
				Effort string `json:"effort"`
			} `json:"output_config"`
		}
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatal(err)
		}
		if sent.Model != model || sent.Output.Effort == "low" {
			t.Errorf("a request went out with model %s and effort %q", sent.Model, sent.Output.Effort)
		}
		if bytes.Contains(body, []byte(planted)) {
			t.Error("the content of a file that a prompt mentions reached the upstream")
		}
	}
	if len(seen) < callers*each*9/10 {
		t.Errorf("only %d of %d requests reached the upstream", len(seen), callers*each)
	}
}

// planted is what the file holds that prompts mention.
const planted = "planted-content-of-a-file"

// isolated sends one request of a random kind whose words all carry its name.
func isolated(t *testing.T, p *clipool.Pool, upstream *simulator.Simulator, random *rand.Rand, name string, project int, mentioned string) {
	word := func(part string) string { return "word-" + name + "-" + part }
	system := ""
	if random.IntN(2) == 0 {
		system = fmt.Sprintf(`"system":"%s",`, word("system"))
	}
	history := ""
	for i := range random.IntN(3) {
		history += fmt.Sprintf(`{"role":"user","content":"%s"},{"role":"assistant","content":"%s"},`, word(fmt.Sprint("asked", i)), word(fmt.Sprint("said", i)))
	}
	before, directive := "", ""
	ctx, leave := context.WithTimeout(t.Context(), time.Minute)
	defer leave()
	kind := random.IntN(15)
	if kind > 11 {
		continued(t, p, random, name, project)
		return
	}
	switch kind {
	case 0:
		directive = "[[error=529]]"
	case 1:
		directive = "[[error=400]]"
	case 2:
		directive = "[[hang]]"
		go func() {
			if upstream.Seen(ctx, word("prompt")) == nil {
				leave()
			}
		}()
	case 3:
		directive = "[[cut-after=2 tokens=20]]"
	case 4:
		directive = "[[tokens=400]]" // more than max_tokens: the CLI would go on
	case 5:
		before = "/effort low "
	case 6:
		before = "/model claude-opus-5-5 "
	case 7:
		directive = "see @" + mentioned
	}
	out := &collector{}
	if kind == 8 {
		directive = "[[tokens=90 interval=5ms]]"
		out.onEvent = func() error { leave(); return nil } // in the middle
	}
	body := fmt.Sprintf(`{"model":"haiku","max_tokens":%d,%s"stream":%t,"messages":[%s{"role":"user","content":"%s%s %s"}]}`,
		100+random.IntN(3), system, kind == 8 || random.IntN(2) == 0, history, before, word("prompt"), directive)
	_, err := p.Generate(ctx, newCall(t, fmt.Sprint("project", project), body), out)
	if kind > 3 && kind != 8 && err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if kind < 2 && (err == nil || apierror.From(err).Upstream == nil) {
		t.Errorf("%s: the upstream's refusal became %v", name, err)
	}
	if kind > 4 && kind != 8 && !bytes.Contains([]byte(out.text.String()), []byte(word(""))) {
		t.Errorf("%s got another's answer: %s", name, out.text.String())
	}
}

// continued has a conversation of two requests, with tools or without, whose words
// all carry its name. The second one goes on at the worker that holds it, or is
// replayed.
func continued(t *testing.T, p *clipool.Pool, random *rand.Rand, name string, project int) {
	word := func(part string) string { return "word-" + name + "-" + part }
	c := &toolChat{p: p, project: fmt.Sprint("project", project), key: fmt.Sprint("key", project), stream: random.IntN(2) == 0, tools: "[]"}
	if random.IntN(2) == 0 {
		c.send(t, fmt.Sprintf("%q", word("one")))
		if answer := said(c.send(t, fmt.Sprintf("%q", word("two")))); !strings.Contains(answer, word("two")) {
			t.Errorf("%s got another's answer: %s", name, answer)
		}
		return
	}
	c.tools = fmt.Sprintf(`[{"name":"get_%s","description":"%s","input_schema":{"type":"object","properties":{"%s":{"type":"string"}}}}]`,
		word("tool"), word("does"), word("input"))
	ids := c.calls(t, fmt.Sprintf(`%s [[tool=get_%s]]`, word("asked"), word("tool")))
	if answer := said(c.results(t, ids, word("found"))); !strings.Contains(answer, word("found")) {
		t.Errorf("%s got another's answer: %s", name, answer)
	}
}
