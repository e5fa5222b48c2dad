package cli

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// restoreOption is a flag that means something for one kind of source.
type restoreOption struct {
	flag string
	kind policy.SourceKind
	name string // in executors.RestoreRequest.Options
	not  string // its value when it was not given
	get  func() string
}

func restoreOptions(f *flags) []restoreOption {
	f.values["jobs"] = "N"
	return []restoreOption{
		{"globals", policy.KindPostgres, "globals", "false", value(f.Bool("globals", false, "postgres: create the roles that are missing first"))},
		{"no-owner", policy.KindPostgres, "no_owner", "false", value(f.Bool("no-owner", false, "postgres: leave owners and grants away"))},
		{"jobs", policy.KindPostgres, "jobs", "0", value(f.Int("jobs", 0, "postgres: parallel jobs; 0 chooses"))},
		{"to", policy.KindPostgres, "to", "", value(f.string("to", "MOMENT", "", "postgres, base backups: recover to latest (the default where WAL is stored), a time, an LSN, name:NAME or xid:NUMBER"))},
		{"timeline", policy.KindPostgres, "timeline", "", value(f.string("timeline", "latest|current|N", "", "postgres, base backups: which timeline recovery follows"))},
		{"inclusive", policy.KindPostgres, "inclusive", "true", value(f.Bool("inclusive", true, "postgres, base backups: -inclusive=false stops just before the moment"))},
		{"action", policy.KindPostgres, "action", "", value(f.choice("action", "", "postgres, base backups: what the server does when it has reached the moment", "promote", "pause", "shutdown"))},
		{"delta", policy.KindPostgres, "delta", "false", value(f.Bool("delta", false, "postgres, base backups: with -replace, take files that are right already from what is there"))},
		{"start", policy.KindPostgres, "start", "false", value(f.Bool("start", false, "postgres, base backups: start the server on the restored directory and wait until it has recovered"))},
		{"filter", policy.KindQdrant, "filter", "", given(f, "filter", f.string("filter", "JSON", "", "qdrant: bring back only the points that this filter selects"))},
		{"aliases", policy.KindQdrant, "aliases", "false", value(f.Bool("aliases", false, "qdrant: point the aliases of the restore point to what is restored, those that exist too"))},
		{"any-version", policy.KindQdrant, "any_version", "false", value(f.Bool("any-version", false, "qdrant: try snapshots of a version that is not said to fit the server's; what comes back is compared with what was recorded"))},
		{"via", policy.KindQdrant, "via", "auto", value(f.choice("via", "auto", "qdrant: how archives reach the server", "auto", "upload", "url", "file"))},
		{"serve", policy.KindQdrant, "serve", "", value(f.string("serve", "HOST:PORT", "", "qdrant: address at which the server fetches archives from this host"))},
	}
}

// given is the value of a flag, and a blank when it was given empty, as by a variable of the shell that is not set: that is
// not the same as not to be given.
func given(f *flags, name string, v *string) func() string {
	return func() string {
		text := *v
		f.Visit(func(fl *flag.Flag) {
			if fl.Name == name && text == "" {
				text = " "
			}
		})
		return text
	}
}

func value[T any](v *T) func() string { return func() string { return fmt.Sprint(*v) } }

// restoreTargets read -target, each for one kind of source.
var restoreTargets = map[policy.SourceKind]func(*session, string, *executors.RestoreRequest) error{
	policy.KindFiles:    (*session).filesTarget,
	policy.KindPostgres: (*session).postgresTarget,
	policy.KindQdrant:   (*session).qdrantTarget,
}

func (s *session) restoreRequest(address, source string, kind policy.SourceKind, c *restoring) (executors.RestoreRequest, error) {
	req := executors.RestoreRequest{
		Source: s.policy.Sources[source], Backup: s.policy.Backups[address],
		Only: *c.only, Replace: *c.replace, Options: map[string]string{}, Log: s.log,
	}
	if err := restoreTargets[kind](s, *c.target, &req); err != nil {
		return req, err
	}
	for _, o := range c.options {
		v := o.get()
		switch {
		case v == o.not:
			continue
		case o.kind != kind:
			return req, usageError("-%s is for %s restores", o.flag, o.kind)
		}
		req.Options[o.name] = v
	}
	return req, checkRestoreOptions(req.Options)
}

// checkRestoreOptions finds values that no server would take.
func checkRestoreOptions(options map[string]string) error {
	if text, ok := options["filter"]; ok {
		var filter map[string]any
		if err := json.Unmarshal([]byte(text), &filter); err != nil || len(filter) == 0 {
			return usageError("-filter takes a Qdrant filter, a JSON object such as {\"must\":[…]}")
		}
	}
	if address, ok := options["serve"]; ok {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return usageError("-serve takes HOST:PORT as the server can reach it, such as 10.0.0.9:8099")
		}
	}
	return nil
}

func (s *session) filesTarget(target string, req *executors.RestoreRequest) error {
	if strings.Contains(target, "://") {
		return usageError("-target of a files restore is a folder, not a URL")
	}
	req.Target.Root = target
	return nil
}

// dataDirTarget takes data_dir=DIR[,TABLESPACE=DIR…]; a tablespace is named by its OID or its old folder.
func dataDirTarget(target string, req *executors.RestoreRequest) error {
	for i, part := range strings.Split(target, ",") {
		name, dir, ok := strings.Cut(part, "=")
		switch {
		case !ok || dir == "" || i == 0 != (name == "data_dir"):
			return usageError("-target of a base backup is data_dir=DIR[,TABLESPACE=DIR…], where a tablespace is named by its OID or its old folder")
		case i == 0:
			req.Target.Root = dir
		case req.Target.Spaces == nil:
			req.Target.Spaces = map[string]string{name: dir}
		default:
			req.Target.Spaces[name] = dir
		}
	}
	return nil
}

func (s *session) postgresTarget(target string, req *executors.RestoreRequest) error {
	if strings.HasPrefix(target, "data_dir=") {
		return dataDirTarget(target, req)
	}
	if !strings.HasPrefix(target, "postgres://") && !strings.HasPrefix(target, "postgresql://") {
		return usageError("-target of a postgres restore is a database URL (postgres://user@host:5432/database), or data_dir=DIR for a base backup")
	}
	s.redactor.Add(passwordOf(target))
	req.Target.URL = policy.NewSecret("-target", func() (string, error) { return target, nil })
	return nil
}

// betweenURLs is the comma before a further URL; names of collections may hold others.
var betweenURLs = regexp.MustCompile(`,(https?://)`)

// qdrantTarget takes NAME, on the source's servers, or URL[,URL][/NAME].
func (s *session) qdrantTarget(target string, req *executors.RestoreRequest) error {
	const wants = "-target of a qdrant restore is a name, in which * stands for that of the collection, or http://host:6333[,http://host2:6333][/NAME]"
	if !strings.Contains(target, "://") {
		switch {
		case strings.ContainsAny(target, "/:"):
			return usageError(wants)
		case req.Source.Qdrant == nil:
			return usageError("the policy does not declare the source of this restore point any more: name the servers in -target, as http://host:6333[/NAME]")
		}
		req.Target.Root = target
		return nil
	}
	var servers []string
	for _, text := range strings.Split(betweenURLs.ReplaceAllString(target, "\n$1"), "\n") {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
			s.redactor.Add(passwordOf(text))
			return usageError(wants)
		}
		name := strings.Trim(u.Path, "/")
		if strings.Contains(name, "/") || name != "" && req.Target.Root != "" {
			return usageError(wants)
		}
		req.Target.Root += name
		if key := s.getenv("QDRANT_API_KEY"); u.User == nil && key != "" {
			u.User = url.UserPassword("", key)
		}
		if u.User != nil {
			password, _ := u.User.Password()
			s.redactor.Add(password)
			s.redactor.Add(strings.ReplaceAll(strings.TrimPrefix(u.User.String(), ":"), ",", "%2C"))
		}
		base := &url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host}
		servers = append(servers, strings.ReplaceAll(base.String(), ",", "%2C")) // a key may hold one
	}
	all := strings.Join(servers, ",")
	req.Target.URL = policy.NewSecret("-target or QDRANT_API_KEY", func() (string, error) { return all, nil })
	return nil
}
