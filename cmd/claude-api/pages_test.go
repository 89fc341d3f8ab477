package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// docs is where the pages are.
var docs = filepath.Join("..", "..", "docs")

// block is one of a page's blocks of code: what follows its three backquotes, and its
// lines. begin and end are where it is in the page, backquotes included.
type block struct {
	info, text string
	begin, end int
}

// readBlocks gives the blocks of code of a page, in their order.
func readBlocks(page string) (blocks []block, err error) {
	const fence = "```"
	for at := 0; ; {
		begin := strings.Index(page[at:], "\n"+fence)
		if begin < 0 {
			return blocks, nil
		}
		begin += at + 1
		info, rest, _ := strings.Cut(page[begin+len(fence):], "\n")
		text, _, closed := strings.Cut("\n"+rest, "\n"+fence)
		if !closed {
			return nil, fmt.Errorf("a block has no end: %s", rest)
		}
		text = strings.TrimPrefix(text+"\n", "\n")
		at = begin + len(fence) + len(info) + 1 + len(text) + len(fence)
		blocks = append(blocks, block{info, text, begin, at})
	}
}

// readDoc reads a page of docs/ and its blocks.
func readDoc(t testing.TB, name string) (page string, blocks []block) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(docs, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err = readBlocks(string(data))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(data), blocks
}

// shBlocks are the blocks that a test runs: those with sh behind their backquotes.
func shBlocks(blocks []block) (found []block) {
	for _, b := range blocks {
		if b.info == "sh" {
			found = append(found, b)
		}
	}
	return found
}

// runBlocks runs blocks one after the other in one shell that ends at the first failure,
// with claude-api in its PATH, and gives what each has printed.
func runBlocks(t testing.TB, env []string, blocks []block) (printed []string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	outputs := t.TempDir()
	var script strings.Builder
	for i, b := range blocks {
		fmt.Fprintf(&script, "{ :\n%s\n} >%s/%d 2>&1\n", b.text, outputs, i)
	}
	sh := exec.CommandContext(within(t), "/bin/sh", "-euc", script.String())
	sh.Env = append(env, "PATH="+filepath.Dir(path)+":/usr/bin:/bin")
	sh.Dir = t.TempDir()
	var errs bytes.Buffer
	sh.Stdout, sh.Stderr = &errs, &errs
	failed := sh.Run()
	for i, b := range blocks {
		out, err := os.ReadFile(filepath.Join(outputs, fmt.Sprint(i)))
		if err == nil {
			printed = append(printed, string(out))
		}
		if failed != nil && (i+1 == len(blocks) || len(printed) <= i || !exists(filepath.Join(outputs, fmt.Sprint(i+1)))) {
			t.Fatalf("%v\n%s\n%s\n%s", failed, errs.String(), b.text, out)
		}
	}
	return printed
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// runPage runs the commands of a page of docs/, of which there must be as many, and gives
// what they have printed.
func runPage(t testing.TB, name string, count int, env []string) string {
	t.Helper()
	_, blocks := readDoc(t, name)
	run := shBlocks(blocks)
	if len(run) != count {
		t.Fatalf("docs/%s has %d blocks of commands, want %d", name, len(run), count)
	}
	return strings.Join(runBlocks(t, env, run), "")
}

func TestReadBlocks(t *testing.T) {
	const page = "# A\n\n```sh\na\nb\n```\n\n```json\n```\ntext\n````\n"
	blocks, err := readBlocks(page)
	if err == nil {
		t.Errorf("%+v", blocks)
	}
	blocks, err = readBlocks(strings.TrimSuffix(page, "````\n"))
	if err != nil || len(blocks) != 2 || blocks[0].text != "a\nb\n" || blocks[0].info != "sh" || blocks[1].text != "" {
		t.Errorf("%+v, %v", blocks, err)
	}
	if b := blocks[0]; page[b.begin:b.end] != "```sh\na\nb\n```" {
		t.Errorf("%q", page[b.begin:b.end])
	}
	if b := blocks[1]; page[b.begin:b.end] != "```json\n```" {
		t.Errorf("%q", page[b.begin:b.end])
	}
}
