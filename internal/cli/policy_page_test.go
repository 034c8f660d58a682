// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/internal/policytest"
)

// TestThePageAboutPolicyTestsIsTrue makes the page's repository and runs its commands.
func TestThePageAboutPolicyTestsIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy-tests.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	t.Chdir(t.TempDir())
	examples := regexp.MustCompile("(?s)`([a-z./-]+\\.yaml)` (?:is|says) [^\n]*:\n\n```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
	for _, example := range examples {
		if err := os.MkdirAll(filepath.Dir(example[1]), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(example[1], []byte(example[2]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var output []string
	commands := regexp.MustCompile(`(?m)^ +(?:- run: )?kubectl valetkey (.*)$`).FindAllStringSubmatch(page, -1)
	for _, command := range commands {
		var out, errOut bytes.Buffer
		if code := Run(t.Context(), strings.Fields(command[1]), genericiooptions.IOStreams{Out: &out, ErrOut: &errOut}, &clocktesting.FakePassiveClock{}); code != 0 {
			t.Errorf("%s: exit code %d\n%s%s", command[1], code, out.String(), errOut.String())
		}
		output = append(output, out.String())
	}
	if len(commands) != 8 || !strings.Contains(page, "\n    "+output[0]) {
		t.Errorf("%d commands; the first prints %s", len(commands), output[0])
	}
}

func TestThePageAboutPolicyTestsNamesEveryFindingAndEveryFieldOfACase(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy-tests.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{
		policytest.CodeUnknownCapability, policytest.CodeUnreadyCapability, policytest.CodeInvalidExpression, policytest.CodeImpossibleName,
		policytest.CodeImpossibleApproval, policytest.CodeShadowedAllow, policytest.CodeWriteWithoutApproval, policytest.CodeWildcard,
		policytest.CodeTTLOverCapability, policytest.CodeTTLUnderDefault, policytest.CodeAccept,
		"name", "requester", "request", "job", "approvals", "after", "risks", "active", "without", "expect",
	} {
		if !strings.Contains(string(text), "\n| `"+word+"` |") {
			t.Errorf("the page does not explain %s", word)
		}
	}
}
