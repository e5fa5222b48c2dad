package postgres

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-io/holdfast/policy"
)

// params are libpq's connection keywords. The password is among them, so they are never printed as they are.
type params map[string]string

// keywords are the connection keywords holdfast hands on; true: pgx knows them too. Others would reach one of the two
// clients only, or (in pgx) be sent to the server as a setting, so they are refused by name.
var keywords = map[string]bool{
	"host": true, "port": true, "user": true, "dbname": true, "password": true, "passfile": true, "service": true,
	"sslmode": true, "sslrootcert": true, "sslcert": true, "sslkey": true, "sslsni": true, "sslnegotiation": true,
	"channel_binding": true, "require_auth": true, "krbsrvname": true, "target_session_attrs": true, "connect_timeout": true,
	"options": true, "application_name": true,
	"gssencmode": false, "keepalives": false, "keepalives_idle": false, "keepalives_interval": false, "keepalives_count": false,
	"tcp_user_timeout": false, "ssl_min_protocol_version": false, "ssl_max_protocol_version": false, "sslcrl": false,
}

// fromEnvironment are libpq's variables that both clients shall see the same way; passwords are resolved by pgx.
var fromEnvironment = map[string]string{
	"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
}

// sourceParams reveals a source's secrets. Errors name the reference, never the value.
func sourceParams(src *policy.PostgresSource) (params, error) {
	if src == nil {
		return nil, errors.New("read source: it is not a postgres source")
	}
	if src.DSN != nil {
		return secretParams(src.DSN)
	}
	p := params{"host": src.Host, "user": src.User, "dbname": src.Database, "sslmode": src.SSLMode}
	if src.Port != 0 {
		p["port"] = strconv.Itoa(src.Port)
	}
	if src.Password != nil {
		pw, err := src.Password.Reveal()
		if err != nil {
			return nil, fmt.Errorf("read password of source: %w", err)
		}
		p["password"] = pw
	}
	return p.completed(), nil
}

func secretParams(secret *policy.Secret) (params, error) {
	text, err := secret.Reveal()
	if err != nil {
		return nil, fmt.Errorf("read connection string: %w", err)
	}
	p, err := parseParams(text)
	if err != nil {
		return nil, fmt.Errorf("read connection string %s: %w", secret.Ref(), err)
	}
	return p, nil
}

// parseParams reads a URL or a keyword=value string. Errors hold no part of the text but keywords.
func parseParams(text string) (params, error) {
	text = strings.TrimSpace(text)
	var p params
	var err error
	switch {
	case text == "":
		return nil, errors.New("it is empty")
	case strings.HasPrefix(text, "postgres://"), strings.HasPrefix(text, "postgresql://"):
		p, err = parseURL(text[strings.Index(text, "://")+3:])
	case strings.Contains(text, "="):
		p, err = parseKeywords(text)
	default:
		err = errors.New("it is neither a postgres:// URL nor a list of keyword=value pairs")
	}
	if err != nil {
		return nil, err
	}
	for k := range p {
		if _, known := keywords[k]; !known {
			return nil, fmt.Errorf("parameter %q is not supported; known are %s", k, strings.Join(slices.Sorted(maps.Keys(keywords)), ", "))
		}
	}
	return p.completed(), nil
}

// parseURL reads [user[:password]@][host[:port][,…]][/dbname][?keyword=value&…], which net/url cannot: several hosts have
// several ports.
func parseURL(rest string) (params, error) {
	p := params{}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	bad := errors.New("it has a broken %-escape; percent-encode special characters of the password")
	var err error
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, _ := strings.Cut(authority[:i], ":")
		authority = authority[i+1:]
		if p["user"], err = url.PathUnescape(user); err != nil {
			return nil, bad
		}
		if p["password"], err = url.PathUnescape(password); err != nil {
			return nil, bad
		}
	}
	if p["dbname"], err = url.PathUnescape(database); err != nil {
		return nil, bad
	}
	var hosts, ports []string
	for one := range strings.SplitSeq(authority, ",") {
		host, port, ok := splitHostPort(one)
		if host, err = url.PathUnescape(host); err != nil || !ok {
			return nil, errors.New("its host and port cannot be read; percent-encode special characters of the password")
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	p["host"], p["port"] = strings.Trim(strings.Join(hosts, ","), ","), strings.Trim(strings.Join(ports, ","), ",")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, bad
	}
	for k, v := range values {
		if k == "database" {
			k = "dbname"
		}
		p[k] = v[len(v)-1]
	}
	return p, nil
}

func splitHostPort(s string) (host, port string, ok bool) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false
		}
		host, s = s[1:end], s[end+1:]
		port, ok = strings.CutPrefix(s, ":")
		ok = ok || s == ""
	} else {
		host, port, _ = strings.Cut(s, ":")
		ok = true
	}
	_, err := strconv.ParseUint(port, 10, 16)
	return host, port, ok && (port == "" || err == nil)
}

// parseKeywords reads libpq's keyword = 'value' pairs, in which a backslash protects the next character.
func parseKeywords(s string) (params, error) {
	p := params{}
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		key, rest, found := strings.Cut(s, "=")
		key = strings.TrimSpace(key)
		if !found || key == "" || strings.ContainsAny(key, " '\\") {
			return nil, errors.New("it is not a list of keyword=value pairs; put values with spaces in single quotes")
		}
		value, rest, ok := keywordValue(strings.TrimLeft(rest, " \t\n"))
		if !ok {
			return nil, fmt.Errorf("the value of %q has no closing quote", key)
		}
		if key == "database" {
			key = "dbname"
		}
		p[key], s = value, rest
	}
	return p, nil
}

func keywordValue(s string) (value, rest string, ok bool) {
	quoted := strings.HasPrefix(s, "'")
	s = strings.TrimPrefix(s, "'")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && c == '\'':
			return b.String(), s[i+1:], true
		case !quoted && strings.IndexByte(" \t\n", c) >= 0:
			return b.String(), s[i:], true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", !quoted
}

// completed drops empty values and adds what the environment says.
func (p params) completed() params {
	maps.DeleteFunc(p, func(_, v string) bool { return v == "" })
	for k, env := range fromEnvironment {
		if v := os.Getenv(env); v != "" && p[k] == "" {
			p[k] = v
		}
	}
	return p
}

// with returns a copy with other values.
func (p params) with(pairs ...string) params {
	out := maps.Clone(p)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// hosts returns one set of parameters per host, each with its port, in order. Snapshots belong to one server, so every
// connection of a call must reach the same one.
func (p params) hosts() []params {
	names, ports := strings.Split(p["host"], ","), strings.Split(p["port"], ",")
	if len(names) < 2 {
		return []params{p}
	}
	out := make([]params, 0, len(names))
	for i, name := range names {
		port := ports[0]
		if len(ports) > 1 && i < len(ports) {
			port = ports[i]
		}
		out = append(out, p.with("host", name, "port", port).completed())
	}
	return out
}

// keywordString encodes what keep accepts, in order of keywords.
func (p params) keywordString(keep func(key string) bool) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(p)) {
		if keep(k) {
			parts = append(parts, k+"='"+quote.Replace(p[k])+"'")
		}
	}
	return strings.Join(parts, " ")
}

// forDriver is the connection string for pgx, with the password.
func (p params) forDriver() string {
	return p.keywordString(func(k string) bool { return keywords[k] })
}

// forTools is the connection string for libpq's programs. It stands on a command line, so the password is not in it.
func (p params) forTools() string {
	return p.keywordString(func(k string) bool { return k != "password" })
}

// address names the server (and database, when given) for people, without secrets.
func (p params) address() string {
	u := url.URL{Scheme: "postgres", Path: p["dbname"]}
	if p["user"] != "" {
		u.User = url.User(p["user"])
	}
	host, port := p["host"], p["port"]
	switch {
	case strings.HasPrefix(host, "/"):
		u.RawQuery = "host=" + host
		if port != "" {
			u.RawQuery += "&port=" + port
		}
	case port != "":
		u.Host = net.JoinHostPort(host, port)
	default:
		u.Host = host
	}
	if u.Path != "" {
		u.Path = "/" + u.Path
	}
	return u.String()
}
