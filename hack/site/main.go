// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command site builds the documentation's site from docs/, and sees that it holds together. It is run in the root of the
// repository. The pages stay plain Markdown that reads well on a Git forge: titles and the menu come from their first heading and
// from navigation.yaml.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	pins       = "hack/pins/site/go.mod"
	theme      = "github.com/imfing/hextra"
	navigation = "hack/site/navigation.yaml"
	skeleton   = "hack/site/hugo"
)

func main() {
	output := flag.String("output", "dist/site", "folder that the site is written to")
	flag.Parse()
	if err := build(*output); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

// build writes the site to output, and checks what it wrote.
func build(output string) error {
	output, err := filepath.Abs(output)
	if err != nil {
		return err
	}
	nav, err := readNavigation(navigation)
	if err != nil {
		return err
	}
	book, err := readBook(".", nav)
	if err != nil {
		return err
	}
	for _, absent := range book.absent {
		fmt.Fprintln(os.Stderr, "site: the menu names a page that is not there:", absent)
	}
	work, err := os.MkdirTemp("", "site")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, os.DirFS(skeleton)); err != nil {
		return err
	}
	if err := book.write(work); err != nil {
		return err
	}
	if err := os.RemoveAll(output); err != nil {
		return err
	}
	if err := hugo(work, output); err != nil {
		return err
	}
	return check(output, ".")
}

// hugo runs the pinned generator with the pinned theme; a warning is an error.
func hugo(work, output string) error {
	folder, err := themeFolder()
	if err != nil {
		return fmt.Errorf("downloading the theme: %w", err)
	}
	fmt.Fprintln(os.Stderr, "site: running Hugo; the first time it is compiled, which takes some minutes")
	cmd := exec.Command("go", "tool", "-modfile="+pins, "hugo", "--panicOnWarning", "--source", work, "--destination", output)
	cmd.Env = append(os.Environ(), "HUGO_MODULE_REPLACEMENTS="+theme+" -> "+folder, "HUGO_CACHEDIR="+filepath.Join(work, "cache"))
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("hugo: %w\n%s", err, text)
	}
	return nil
}

// themeFolder is where Go keeps the theme, which no Go code imports.
func themeFolder() (string, error) {
	text, err := exec.Command("go", "mod", "download", "-modfile="+pins, "-json", theme).Output()
	var module struct{ Dir, Error string }
	if problem := json.Unmarshal(text, &module); problem != nil || module.Error != "" {
		return "", errors.Join(problem, explain(err), errors.New(module.Error))
	}
	return module.Dir, explain(err)
}

func explain(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}

// files are those of a folder whose names end so.
func files(folder, suffix string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, suffix) {
			found = append(found, filepath.ToSlash(path))
		}
		return err
	})
	return found, err
}
