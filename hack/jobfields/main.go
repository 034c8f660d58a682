// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command jobfields writes, from the table of policy.Fields, the admission rules that refuse fields of
// a Job and bound how large it is, and the page that says
// what a Job may do with each field. It is run in the root of the repository.
package main

import (
	"fmt"
	"os"

	"github.com/valetkey/valetkey/hack/jobfields/rule"
	"github.com/valetkey/valetkey/internal/policy"
)

func main() {
	for file, content := range map[string]string{
		"config/admission/job-fields.yaml": rule.YAML(policy.Structs()),
		"config/admission/sizes.yaml":      rule.SizesYAML(policy.Structs()),
		"docs/job-fields.md":               page(policy.Structs()),
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "jobfields:", err)
			os.Exit(1)
		}
	}
}
