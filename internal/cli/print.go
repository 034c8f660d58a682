// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// output is the flag -o: nothing, wide, json or yaml.
type output string

func (o *output) String() string { return string(*o) }
func (*output) Type() string     { return "format" }

func (o *output) Set(value string) error {
	if !slices.Contains([]string{"", "wide", "json", "yaml"}, value) {
		return fmt.Errorf("want wide, json or yaml")
	}
	*o = output(value)
	return nil
}

func (o *output) add(cmd *cobra.Command) {
	cmd.Flags().VarP(o, "output", "o", "wide, json or yaml; a table if not set")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// structured prints an object, or a list, as JSON or YAML, and reports whether the flag asks for it.
func (s *shell) structured(o output, c *cluster, object runtime.Object) (bool, error) {
	var printer printers.ResourcePrinter
	switch o {
	case "json":
		printer = &printers.JSONPrinter{}
	case "yaml":
		printer = &printers.YAMLPrinter{}
	default:
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
	return true, (&printers.OmitManagedFieldsPrinter{Delegate: printer}).PrintObj(object, s.Out)
}

// table prints rows under a header, as kubectl does.
func (s *shell) table(header []string, rows [][]string) error {
	w := printers.GetNewTabWriter(s.Out)
	for _, row := range append([][]string{header}, rows...) {
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}
