// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// fieldForm is where a file or a variable takes a field of the secret.
var fieldForm = regexp.MustCompile(`\$\{data\.([A-Za-z0-9_-]+)\}`)

// credential is what the container is given of a secret.
func (s *secret) credential(c *v1alpha1.VaultCapability, role string, expires time.Time) (*provider.Credential, error) {
	f := provider.CredentialFields{ID: s.lease, Principal: role, ExpiresAt: expires, Uncertain: s.slow, Files: map[string]string{}, Variables: map[string]string{}, Pointers: map[string]string{}}
	for _, file := range c.Files {
		content, err := s.fill(file.Content)
		if err != nil {
			return nil, err
		}
		f.Files[file.Path] = content
	}
	for _, variable := range c.Variables {
		value, err := s.fill(variable.Value)
		if err != nil {
			return nil, err
		}
		f.Variables[variable.Name] = value
	}
	if c.Postgres != nil {
		if err := s.postgres(&f, c.Postgres); err != nil {
			return nil, err
		}
	}
	f.Secrets, f.Sent = s.secrets(), s.sent()
	credential, err := provider.NewCredential(f)
	if err != nil {
		return nil, final("what Vault leased cannot be projected: %s", err)
	}
	return credential, nil
}

// fill puts fields into a template. Its error names the field that is missing, and no value. A template can name a field
// so often that what is made of it fits no Secret, nor the operator's memory: its size is known before it is made.
func (s *secret) fill(template string) (string, error) {
	texts, size := map[string]string{}, len(template)
	for _, place := range fieldForm.FindAllStringSubmatch(template, -1) {
		name := place[1]
		value, found := s.data[name]
		if !found {
			return "", final("what Vault leased has no field %q", name)
		}
		if _, known := texts[name]; !known {
			texts[name], s.used[name] = text(value), value
		}
		size += len(texts[name])
	}
	if s.filled += size; s.filled > corev1.MaxSecretSize {
		return "", final("what the capability's files and variables make of what Vault leased is more than a Secret holds; " +
			"name fewer or shorter fields")
	}
	return fieldForm.ReplaceAllStringFunc(template, func(place string) string {
		return texts[fieldForm.FindStringSubmatch(place)[1]]
	}), nil
}

// public are the fields of Vault's engines that name a secret, or can be told to everybody. Of those that are not known,
// each is secret. A name that passed for a secret would be refused in a lease's ID, in which the path's names stand.
var public = []string{
	"username", "access_key", "arn", "certificate", "issuing_ca", "ca_chain", "serial_number", "expiration",
	"private_key_type", "service_account_name", "service_account_namespace",
}

// secrets are the values, among those that were used, that are secret; all of them if nothing else is.
func (s *secret) secrets() []string { return secretsOf(s.used) }

// told are the values that whatever is told in clear must not tell: all that was leased, whether it is used or not, but
// for what the path says itself.
func (s *secret) told(path string) []string {
	return slices.DeleteFunc(secretsOf(s.data), func(value string) bool { return strings.Contains(path, value) })
}

func secretsOf(data map[string]any) []string {
	var secret, all []string
	for _, name := range slices.Sorted(maps.Keys(data)) {
		whole := text(data[name])
		values := slices.DeleteFunc(append([]string{whole}, texts(data[name], whole)...), func(v string) bool { return v == "" })
		all = append(all, values...)
		if !slices.Contains(public, name) {
			secret = append(secret, values...)
		}
	}
	if len(secret) == 0 {
		secret = all
	}
	slices.Sort(secret)
	return slices.Compact(secret)
}

// texts are those within a list or an object, and its numbers, as they are written in the whole of it: each is a
// secret of its own, wherever it stands alone. What is true, false or nothing can be guessed.
func texts(value any, whole string) (all []string) {
	switch v := value.(type) {
	case nil, bool:
	default:
		all = []string{text(v)}
	case string:
		if !strings.Contains(whole, v) {
			escaped, _ := json.Marshal(v) // a string always can be
			v = strings.Trim(string(escaped), `"`)
		}
		all = []string{v}
	case []any:
		for _, one := range v {
			all = append(all, texts(one, whole)...)
		}
	case map[string]any:
		for _, one := range v {
			all = append(all, texts(one, whole)...)
		}
	}
	return all
}

// postgres writes what PostgreSQL's clients read. The service file carries the password, too: libpq takes no password file that a group
// can read, and a volume of Kubernetes that is not root's is such a one.
func (s *secret) postgres(f *provider.CredentialFields, p *v1alpha1.VaultPostgres) error {
	user, err := s.fill("${data.username}")
	if err != nil {
		return err
	}
	password, err := s.fill("${data.password}")
	if err != nil {
		return err
	}
	if strings.ContainsAny(user+password, "\n\r\x00") || !provider.Plain(user) {
		return final("what Vault leased has a username or password that no PostgreSQL client's file can hold")
	}
	port := strconv.Itoa(int(p.Port))
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	f.Files["postgres/pgpass"] = fmt.Sprintf("%s:%s:%s:%s:%s\n", escape.Replace(p.Host), port, escape.Replace(p.Database), escape.Replace(user), escape.Replace(password))
	f.Files["postgres/service"] = fmt.Sprintf("[valetkey]\nhost=%s\nport=%s\ndbname=%s\nsslmode=%s\nuser=%s\npassword=%s\n", p.Host, port, p.Database, p.SSLMode, user, password)
	for name, value := range map[string]string{
		"PGSERVICEFILE": v1alpha1.MountPath + "/postgres/service", "PGSERVICE": "valetkey", "PGPASSFILE": v1alpha1.MountPath + "/postgres/pgpass",
		"PGHOST": p.Host, "PGPORT": port, "PGDATABASE": p.Database, "PGSSLMODE": p.SSLMode, "PGUSER": user,
	} {
		f.Pointers[name] = value
	}
	return nil
}
