package architecture_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThePagesNameTestsThatExist holds what the pages say a test shows against the
// tests that there are.
func TestThePagesNameTestsThatExist(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	tests := map[string]bool{}
	for _, path := range files(t, "_test.go") {
		for _, found := range declared.FindAllStringSubmatch(read(t, path), -1) {
			tests[found[1]] = true
		}
	}
	quoted := regexp.MustCompile("`(Test[A-Z]\\w+)`")
	count := 0
	for _, path := range files(t, ".md") {
		for _, found := range quoted.FindAllStringSubmatch(read(t, path), -1) {
			if count++; !tests[found[1]] {
				t.Errorf("%s names %s, which doesn't exist", path, found[1])
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d tests are named: they aren't found", count)
	}
}

func files(t *testing.T, ending string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (name == "node_modules" || name == ".git") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ending) && entry.Type().IsRegular() {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
