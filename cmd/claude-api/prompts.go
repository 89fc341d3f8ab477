package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/client"
)

// The forms of a file of prompts.
const (
	promptsText  = "txt"
	promptsJSON  = "json"
	promptsLines = "jsonl"
	promptsCSV   = "csv"
)

// mostPrompts bounds a file of prompts.
const mostPrompts = 256 << 20

// readPrompts reads a file of prompts in a form; "": the one that its name ends with. "-"
// is standard input.
func readPrompts(file, form string) ([]client.BatchPrompt, error) {
	if form == "" {
		form = formOf(file)
	}
	in := os.Stdin
	if file != fromInput {
		opened, err := os.Open(file)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		defer func() { _ = opened.Close() }()
		in = opened
	}
	text, err := io.ReadAll(io.LimitReader(in, mostPrompts+1))
	switch {
	case err != nil:
		return nil, &exitError{exitUsage, fmt.Errorf("read the prompts: %w", err)}
	case len(text) > mostPrompts:
		return nil, misused("the file of prompts is larger than %d MiB", mostPrompts>>20)
	}
	prompts, err := parsePrompts(bytes.TrimPrefix(text, []byte("\ufeff")), form)
	switch {
	case err != nil:
		return nil, &exitError{exitUsage, fmt.Errorf("%s as %s: %w", file, form, err)}
	case len(prompts) == 0:
		return nil, misused("%s: there is no prompt in it", file)
	}
	return prompts, nil
}

func formOf(file string) string {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".json":
		return promptsJSON
	case ".jsonl", ".ndjson":
		return promptsLines
	case ".csv":
		return promptsCSV
	}
	return promptsText
}

// parsePrompts reads prompts in a form. None of those it gives is empty.
func parsePrompts(text []byte, form string) ([]client.BatchPrompt, error) {
	switch form {
	case promptsJSON:
		return promptsOfJSON(text)
	case promptsLines:
		return promptsOfLines(text)
	case promptsCSV:
		return promptsOfCSV(text)
	}
	var prompts []client.BatchPrompt
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			prompts = append(prompts, client.BatchPrompt{Prompt: line})
		}
	}
	return prompts, nil
}

// jsonPrompt is a text, or an object with a prompt and maybe an id.
type jsonPrompt client.BatchPrompt

var errNoPrompt = errors.New("must be a text, or an object with a prompt that isn't empty")

// UnmarshalJSON implements json.Unmarshaler.
func (p *jsonPrompt) UnmarshalJSON(value []byte) error {
	if jsontext.Value(value).Kind() == '"' {
		if err := json.Unmarshal(value, &p.Prompt); err != nil {
			return err
		}
	} else {
		var read struct {
			Prompt string         `json:"prompt"`
			ID     jsontext.Value `json:"id"`
		}
		if err := json.Unmarshal(value, &read); err != nil {
			return errNoPrompt
		}
		p.Prompt = read.Prompt
		switch read.ID.Kind() {
		case '"':
			if err := json.Unmarshal(read.ID, &p.ID); err != nil {
				return err
			}
		case '0':
			p.ID = string(read.ID)
		}
	}
	if strings.TrimSpace(p.Prompt) == "" {
		return errNoPrompt
	}
	return nil
}

// promptsOfJSON reads a list, or an object as /v1/batch takes it.
func promptsOfJSON(text []byte) ([]client.BatchPrompt, error) {
	var whole struct {
		Prompts []jsontext.Value `json:"prompts"`
	}
	var err error
	if jsontext.Value(bytes.TrimSpace(text)).Kind() == '{' {
		err = json.Unmarshal(text, &whole)
	} else {
		err = json.Unmarshal(text, &whole.Prompts)
	}
	if err != nil {
		return nil, errors.New("must be a list of prompts, or an object with the list prompts")
	}
	var prompts []client.BatchPrompt
	for i, value := range whole.Prompts {
		var p jsonPrompt
		if err := p.UnmarshalJSON(value); err != nil {
			return nil, fmt.Errorf("prompt %d %w", i+1, err)
		}
		prompts = append(prompts, client.BatchPrompt(p))
	}
	return prompts, nil
}

func promptsOfLines(text []byte) ([]client.BatchPrompt, error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, mostPrompts)
	var prompts []client.BatchPrompt
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var p jsonPrompt
		if err := p.UnmarshalJSON(line); err != nil {
			return nil, fmt.Errorf("line %d %w", n, err)
		}
		prompts = append(prompts, client.BatchPrompt(p))
	}
	return prompts, lines.Err()
}

func promptsOfCSV(text []byte) ([]client.BatchPrompt, error) {
	table := csv.NewReader(bytes.NewReader(text))
	header, err := table.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	at := func(name string) int {
		return slices.IndexFunc(header, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), name) })
	}
	promptAt, idAt := at("prompt"), at("id")
	if promptAt < 0 {
		return nil, errors.New("the first line must name the columns, one of them prompt")
	}
	var prompts []client.BatchPrompt
	for {
		row, err := table.Read()
		if errors.Is(err, io.EOF) {
			return prompts, nil
		}
		if err != nil {
			return nil, err
		}
		p := client.BatchPrompt{Prompt: row[promptAt]}
		if idAt >= 0 {
			p.ID = row[idAt]
		}
		if strings.TrimSpace(p.Prompt) == "" {
			line, _ := table.FieldPos(promptAt)
			return nil, fmt.Errorf("line %d has no prompt", line)
		}
		prompts = append(prompts, p)
	}
}
