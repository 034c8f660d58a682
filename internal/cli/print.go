// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/internal/visible"
)

// output is the value of the flag -o: nothing, wide, json or yaml.
type output string

// formats is the flag -o of a command, with the formats that the command knows.
type formats struct {
	*output
	known []string
}

func (f formats) String() string {
	if f.output == nil {
		return ""
	}
	return string(*f.output)
}

func (formats) Type() string { return "format" }

func (f formats) Set(value string) error {
	if !slices.Contains(f.known, value) {
		return fmt.Errorf("want %s", strings.Join(f.known, " or "))
	}
	*f.output = output(value)
	return nil
}

// add is for a command that prints a table.
func (o *output) add(cmd *cobra.Command) { o.addOf(cmd, "a table if not set", "wide", "json", "yaml") }

// addOf is for a command that prints something else, and knows these formats.
func (o *output) addOf(cmd *cobra.Command, otherwise string, known ...string) {
	cmd.Flags().VarP(formats{o, known}, "output", "o", strings.Join(known, " or ")+"; "+otherwise)
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(known, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// structured prints an object, or a list, as JSON or YAML, and reports whether the flag asks for it.
func (s *shell) structured(o output, c *cluster, object runtime.Object) (bool, error) {
	if o != "json" && o != "yaml" {
		return false, nil
	}
	kind, err := apiutil.GVKForObject(object, c.Scheme())
	if err != nil {
		return true, err
	}
	object.GetObjectKind().SetGroupVersionKind(kind)
	if meta.IsListType(object) {
		err = meta.EachListItem(object, func(item runtime.Object) error {
			item.GetObjectKind().SetGroupVersionKind(kind.GroupVersion().WithKind(strings.TrimSuffix(kind.Kind, "List")))
			return nil
		})
	}
	if err != nil {
		return true, err
	}
	var text bytes.Buffer
	if err := (&printers.OmitManagedFieldsPrinter{Delegate: &printers.JSONPrinter{}}).PrintObj(object, &text); err != nil {
		return true, err
	}
	return true, s.encoded(o, text.Bytes())
}

// answer prints what is no object of the cluster as JSON or YAML, and reports whether the flag asks for it.
func (s *shell) answer(o output, value any) (bool, error) {
	if o != "json" && o != "yaml" {
		return false, nil
	}
	text, err := json.MarshalIndent(value, "", "    ")
	if err != nil {
		return true, err
	}
	return true, s.encoded(o, append(text, '\n'))
}

// encoded prints JSON, as YAML if that is asked for. JSON is YAML, too: where it holds what the screen would spell, it stays JSON,
// and the characters are spelled in it, where YAML understands that.
func (s *shell) encoded(o output, text []byte) error {
	hides := !bytes.Equal(visible.Text(text), text)
	switch {
	case o == "yaml" && hides:
		text = visible.YAML(text)
	case o == "yaml":
		var err error
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
	}
	_, err := s.Out.Write(text)
	return err
}

// table prints rows under a header, as kubectl does.
func (s *shell) table(header []string, rows [][]string) error {
	w := printers.GetNewTabWriter(s.Out)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = visible.Line(cell)
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}
