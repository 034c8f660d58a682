// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	goyaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// TestSuffix ends the names of files with test cases. No tool that applies manifests should be given them.
const TestSuffix = ".valetkey-test.yaml"

// find lists the files of manifests and of test cases in directory trees, each once. It follows no links to directories, and looks
// into no directory whose name begins with a dot.
func find(dirs []string) (manifests, tests []string, err error) {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && path != dir && strings.HasPrefix(d.Name(), "."):
				return filepath.SkipDir
			case d.IsDir():
				return nil
			case strings.HasSuffix(path, TestSuffix):
				tests = append(tests, filepath.Clean(path))
			case slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path))):
				manifests = append(manifests, filepath.Clean(path))
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the folder: %w", err)
		}
	}
	slices.Sort(manifests)
	slices.Sort(tests)
	return slices.Compact(manifests), slices.Compact(tests), nil
}

// document is one object of a file.
type document struct {
	file   string
	number int
	object map[string]any
}

// documents reads all objects of a file, those of lists too. What is neither of a kind nor of an API version, as the values of a
// chart, is no object.
func documents(file string) ([]document, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []document
	var problems []error
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for number := 1; ; number++ {
		part, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all, errors.Join(problems...)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", file, number, err)
		}
		object, err := decode(part)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: document %d: %w", file, number, err))
			continue
		}
		all = append(all, unlist(document{file, number, object})...)
	}
}

// decode reads numbers as the API server does, and takes no field twice. Of several objects without a line of dashes
// between them some tools apply the first, and some all.
func decode(text []byte) (map[string]any, error) {
	encoded, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
	var value any
	if err := json.Unmarshal(encoded, &value); err != nil {
		return nil, err
	}
	if stream := goyaml.NewDecoder(bytes.NewReader(text)); stream.Decode(&goyaml.Node{}) == nil && !errors.Is(stream.Decode(&goyaml.Node{}), io.EOF) {
		return nil, errors.New("something follows the object; write a line of --- between two, or a List")
	}
	object, _ := value.(map[string]any)
	return object, nil
}

func unlist(d document) []document {
	items, ok := d.object["items"].([]any)
	if !ok || d.object["kind"] != "List" || d.object["apiVersion"] != "v1" {
		if d.object["kind"] == nil && d.object["apiVersion"] == nil {
			return nil
		}
		return []document{d}
	}
	var all []document
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			all = append(all, unlist(document{d.file, d.number, object})...)
		}
	}
	return all
}

// text is a string field; empty if it is not there.
func (d document) text(path ...string) string {
	at := any(d.object)
	for _, name := range path {
		fields, _ := at.(map[string]any)
		at = fields[name]
	}
	s, _ := at.(string)
	return s
}

// String says where the document is, to begin a sentence.
func (d document) String() string {
	if name := d.text("metadata", "name"); name != "" {
		return fmt.Sprintf("%s: %s %s", d.file, d.text("kind"), name)
	}
	return fmt.Sprintf("%s: document %d", d.file, d.number)
}
