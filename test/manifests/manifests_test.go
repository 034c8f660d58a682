// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestReadGivesEveryDocumentInOrderAndNoKustomization(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml":             "# first\nkind: A\nmetadata: {name: one}\n---\n---\nkind: A\nmetadata: {name: two}\n",
		"b.yaml":             "kind: B\nmetadata: {name: three}\n",
		"kustomization.yaml": "kind: Kustomization\nresources: [a.yaml]\n",
		"notes.txt":          "kind: Note\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	objects, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range objects {
		got = append(got, o.GetName())
	}
	if diff := cmp.Diff([]string{"one", "two", "three"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefusesAnEmptyFolder(t *testing.T) {
	if _, err := read(t.TempDir()); err == nil {
		t.Error("a folder without manifests was taken for an installation")
	}
}

func TestServed(t *testing.T) {
	for name, c := range map[string]struct {
		conditions []any
		want       bool
	}{
		"no conditions yet":  {nil, false},
		"names accepted":     {[]any{map[string]any{"type": "NamesAccepted", "status": "True"}}, false},
		"not established":    {[]any{map[string]any{"type": "Established", "status": "False"}}, false},
		"established, later": {[]any{map[string]any{"type": "NamesAccepted", "status": "True"}, map[string]any{"type": "Established", "status": "True"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			crd := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": c.conditions}}}
			if got := served(crd); got != c.want {
				t.Errorf("served: %v, want %v", got, c.want)
			}
		})
	}
}
