// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
)

// behindExec demands valetkey-exec of the sample's capability, and has each step run by it: from an image volume, and from where an
// init container copied it. Both print their whole environment, and neither tells the credential.
func behindExec(t *testing.T, s *stage.Stage) {
	set(t, s, fmt.Sprintf(`{"spec":{"exec":{"images":[%q]},"aws":{"delivery":"Env"}}}`, s.Exec))
	defer set(t, s, `{"spec":{"exec":null,"aws":{"delivery":"Files"}}}`)
	ask(t, s, stage.Ask{Name: "without-exec", Args: []string{"spill", "previews/web-app/without-exec"}})
	r, err := s.AwaitRequest(t.Context(), "without-exec", v1alpha1.ReasonJobRefused)
	if err != nil {
		t.Fatal(err)
	}
	if message := stage.Message(r.Status.Conditions, v1alpha1.ConditionAllowed); !strings.Contains(message, "wants the command of container publish to begin with valetkey-exec") {
		t.Errorf("a Job without it is refused with: %s", message)
	}
	mount := `{op: add, path: /spec/template/spec/containers/0/volumeMounts, value: [{name: exec, mountPath: /valetkey, readOnly: true}]}`
	for name, job := range map[string][]string{
		"exec-mounted": {mount, `{op: add, path: /spec/template/spec/volumes, value: [{name: exec, image: {reference: "` + s.Exec + `"}}]}`},
		"exec-copied": {mount, `{op: add, path: /spec/template/spec/volumes, value: [{name: exec, emptyDir: {}}]}`,
			`{op: add, path: /spec/template/spec/initContainers, value: [{name: exec, image: "` + s.Exec + `", command: [/valetkey-exec], args: [install, /to], volumeMounts: [{name: exec, mountPath: /to}]}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			ask(t, s, stage.Ask{Name: name, Command: []string{"/valetkey/valetkey-exec", "--", "/publish-preview"}, Args: []string{"spill", "previews/web-app/" + name}, Job: job})
			ended(t, s, name, v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
			text := logs(t, s, name, "publish") + "\n"
			for _, want := range []string{"put previews/web-app/" + name + " ok\n", "AWS_SECRET_ACCESS_KEY=[redacted]\n", "AWS_SESSION_TOKEN=[redacted]\n", "AWS_REGION=us-east-1\n", "VALETKEY_EXPIRES_AT=20"} {
				if !strings.Contains(text, want) {
					t.Errorf("its log has no %q:\n%s", want, text)
				}
			}
		})
	}
}
