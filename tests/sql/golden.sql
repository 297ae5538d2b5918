-- Statements whose answers must be those of DuckDB running the same text; blank lines between.
-- Tables: see tables() in test_golden.py. `-- ordered` says that the order of rows counts.

select 1 + 2 as three, 7 / 2 as half, 7 // 2 as whole, -7 // 2 as down, -7 % 3 as rest, 2.5 * 1.20 as product

select 1 as a, 'x' as b, null as c, true as d, 1.50 as e, date '2020-02-29' as f

select i, j, i + j, i - j, i * j, i / j, i // nullif(j, 0), i % nullif(j, 0) from t

select i, x, y from t where i > 1 and (x < 10 or y is null)

select * from t where s like 'a%' or s like '%_c' or s not like '%b%'

select * from t where s ilike 'A%'

select * from t where s like 'a!%%' escape '!'

select s || '-' || i as both, concat(s, '-', i) as joined, concat_ws('/', s, i) as ws from t

select upper(s), lower(s), length(s), reverse(s), left(s, 2), right(s, 2), substring(s, 2, 2), substr(s, 2) from t

select trim(s), ltrim(s), rtrim(s), trim(both 'ab' from s), lpad(s, 5, '*'), rpad(s, 2, '*') from t

select replace(s, 'b', 'XX'), position('b' in s), strpos(s, 'c'), repeat(s, 2), split_part(s, 'b', 1) from t

select starts_with(s, 'a'), contains(s, 'b'), ends_with(s, 'c'), ascii(s), md5(s) from t where s <> ''

select regexp_matches(s, '^a.*c$'), regexp_replace(s, '[ab]', '_'), regexp_replace(s, '[ab]', '_', 'g'), regexp_extract(s, '(a)(b)', 2) from t

select case i when 1 then 'one' when 2 then 'two' else 'many' end as word, case when x > 1 then x end as big from t

select coalesce(i, j, 0), nullif(i, 2), greatest(i, j), least(i, j), ifnull(i, -1), if(i > 1, 'a', 'b') from t

select i between 1 and 2, i not between 1 and 2, i in (1, 3), i not in (1, 3), i in (1, null), i is null, i is not null from t

select i is distinct from j, i is not distinct from j, (i > 1) is true, (i > 1) is not false, (i > 1) is null from t

select i = 1 and j = 1, i = 1 or j = 1, not i = 1 from t

select abs(i - 2), round(x, 1), floor(x), ceil(x), sqrt(abs(x)), power(i, 2), sign(x), ln(abs(x) + 1), exp(0), log(100) from t where not isnan(x)

select cast(i as varchar), cast(x as varchar), i::double, cast('12' as integer), try_cast(s as integer), cast(2.5 as integer), cast(3.5 as integer), cast(-2.5 as integer), 2.567::decimal(5, 2) from t

select d, extract(year from d), month(d), day(d), quarter(d), dayofweek(d), extract(isodow from d), extract(doy from d), week(d), date_part('year', d) from t

select d + 1, d - 1, d - date '2020-01-01', d + interval 1 month, d - interval '2 days', d + interval '1 year 2 months' from t

select date_trunc('month', d), date_trunc('year', ts), date_trunc('hour', ts), date_diff('day', d, date '2021-01-01'), date_diff('month', d, date '2021-01-01') from t

select ts, extract(hour from ts), minute(ts), extract(second from ts), ts + interval 90 minute, ts::date, epoch(ts) from t

select d from t where d >= '2020-01-01' and d < date '2020-01-01' + interval '1' year

select strftime(d, '%Y/%m/%d'), strptime('2020-03-04', '%Y-%m-%d'), make_date(2020, 2, 29), last_day(d) from t

-- ordered
select i, x from t order by i desc nulls last, x nulls first

-- ordered
select i, x from t order by 1, 2 desc

-- ordered
select i as k, x from t order by k nulls first, x limit 3 offset 1

-- ordered
select i + 1 as k from t where i is not null order by i * -1, s limit 2

-- ordered
select s from t order by length(s) desc, s

select distinct i from t

select distinct i, j from t where i is not null

select count(*), count(i), count(distinct i), sum(i), avg(i), min(i), max(i), min(s), max(s), sum(x), sum(m), avg(m) from t where not isnan(x) or x is null

select count(*), sum(i), max(s), avg(x) from t where false

select i, count(*), sum(j) from t group by i

select i, count(*) from t group by 1 having count(*) > 1

select i % 2 as odd, count(*) as n from t group by odd having n > 0

select count(*) from t having count(*) > 100

select i, sum(j) filter (where j > 1), count(*) filter (where s like 'a%'), avg(distinct j) from t group by i

select string_agg(s, ',' order by s), string_agg(distinct s, '|' order by s desc), list(i order by i nulls last, s) from t

select stddev(i), var_pop(i), stddev_pop(j), corr(i, j), covar_samp(i, j), median(i), quantile_cont(i, 0.25), bool_and(i > 0), bool_or(i > 2) from t

select percentile_cont(0.5) within group (order by i), percentile_disc(0.5) within group (order by i) from t

select arg_max(s, j), arg_min(s, j * 10 + i), any_value(1), product(i) from t where j is not null and j <> 2 and i is not null

select i, j, count(*), grouping(i), grouping(j), grouping(i, j) from t group by rollup(i, j)

select i, j, sum(m) from t group by cube(i, j)

select i, j, count(*) from t group by grouping sets ((i), (j), ())

select i, j, count(*) from t group by i, rollup(j)

select i + j as k, count(*) from t group by i + j

select i + 1, count(*) + 1, sum(j) * 2 from t group by i

select all i from t

select i, count(*) from t group by all

select t.i, u.i, u.v from t join u on t.i = u.i

select t.i, u.v from t, u where t.i = u.i and u.v > 10

select t.i, u.v from t left join u on t.i = u.i

select t.i, u.v from t left join u on t.i = u.i and u.v > 10

select t.i, u.v from t left join u on t.i = u.i where u.v is null

select t.i, u.i, u.v from t right join u on t.i = u.i

select a.i, t.i, u.i from t as a, (t right join u on t.i = u.i) where a.i = 1

select t.i, u.i, u.v from t full join u on t.i = u.i

select t.i, u.i from t full join u on t.i = u.i and t.j > 1

select t.i, u.i from t join u on t.i < u.i

select t.i, u.i from t left join u on t.i < u.i and t.j = 1

select t.i, u.i from t cross join u

select i, j, v from t join u using (i)

select * from t join u using (i)

select i, t.i, u.i from t full join u using (i)

select * from t natural join u

select a.i, b.i, c.v from t a join t b on a.i = b.j join u c on c.i = b.i

select a.i, b.i, c.v from t a left join (t b join u c on c.i = b.i) on a.j = b.j

select a.i, c.v from t a, t b left join u c on b.i = c.i where a.i = b.j

select * from t semi join u using (i)

select * from t anti join u on t.i = u.i

select * from (select i, count(*) as n from t group by i) q where n > 1

select q.a, q.b from (select i, j from t) as q(a, b) where q.a is not null

select * from (values (1, 'a'), (2, 'b'), (null, 'c')) v(n, w) where n is null or n > 1

values (1, 'x'), (2, 'y')

with a as (select i from t where i > 1), b(k) as (select i + 1 from a) select * from a, b where a.i = b.k

with a as (select i, count(*) n from t group by i) select x.i, y.n from a x join a y on x.i = y.i

with a as (select 1 as k) select * from (with a as (select 2 as k) select * from a) q, a

select i from t union select i from u

select i from t union all select i from u

select i from t intersect select i from u

select i from t except select i from u

select i from t intersect all select i from u

select i from t except all select i from u

select i, x from t union all select v, null from u

(select i from t order by i limit 2) union all (select i from u order by i desc limit 1)

-- ordered
select i from t union select i from u order by 1 desc nulls last limit 3

select 1 as a union all select 2.5 union all select null

select i from t where i in (select i from u)

select i from t where i not in (select i from u)

select i from t where i not in (select i from u where i is not null)

select i from t where i not in (select i from u where false)

select i, i in (select i from u), i not in (select i from u where i is not null) from t

select i, j from t where (i, j) in (select i, v from u)

select i, j from t where (i, j) not in (select i, v from u)

select i from t where exists (select 1 from u where u.i = t.i)

select i from t where not exists (select 1 from u where u.i = t.i and u.v > t.j)

select i, exists (select 1 from u where u.i = t.i) from t

select i, exists (select 1 from u where u.i = t.i and u.v > t.j * 10) as e from t

select i, exists (select 1 from u) as e, exists (select 1 from u where false) as f from t

select i from t where exists (select 1 from u where u.i = t.i) or j = 2

select i, (select max(v) from u) from t

select i, (select max(v) from u where u.i = t.i) from t

select i, (select count(*) from u where u.i = t.i) from t

select i, (select count(*) + 1 from u where u.i = t.i) as n from t

select i, (select count(*) from u where u.i > t.i) from t

select i, (select sum(v) from u where u.i > t.i and u.v > t.j) from t

select i, (select count(v) + t.j from u where u.i = t.i) from t

select i, (select v from u where u.i = t.i order by v desc limit 1) from t

select i, (select v from u where u.i >= t.i order by v limit 1) from t

select i from t where j > (select avg(v) / 10 from u where u.i = t.i)

select i from t where j = (select min(j) from t t2 where t2.i = t.i)

select i, j > any (select v / 10 from u), j <= all (select v / 10 from u where v is not null) from t

select i from t where j >= all (select j from t t2 where t2.i = t.i and j is not null)

select i from t where i = any (select i from u)

select i from t where i <> all (select i from u where i is not null)

select i, i = any (select u.i from u where u.v > t.j) as e from t

select i, i not in (select u.i from u where u.v > t.j * 10) as e from t

select i from t where i not in (select u.i from u where u.v > t.j * 10)

select i, (select count(*) from u where u.i = t.i having count(*) > 1) from t

select i, (select count(*) from (select distinct v from u where u.i = t.i) q) from t

select i, (select sum(q.n) from (select v, count(*) as n from u where u.i = t.i group by v) q) from t

select i, (select max(w) from (select u.v as w from u where u.i = t.i union all select t.j) q) from t

select i from t where exists (select u.i from u where u.i = t.i intersect select j from t t2 where t2.j = t.j)

select i from t where exists (select 1 from u where u.i = t.i and exists (select 1 from t t2 where t2.j = t.j and t2.i = u.i))

select i, (select count(*) from u where u.i = t.i and u.v > (select avg(v) from u u2 where u2.i = t.i)) from t

select i, (select count(*) from u left join t t2 on u.i = t2.i and t2.j = t.j) from t

select i, sum(j), (select max(v) from u where u.i = t.i) from t group by i

select i, sum(j) from t group by i having sum(j) > (select avg(v) / 10 from u where u.i = t.i)

select i, sum(j) from t group by i having i in (select i from u)

select sum((select count(*) from u where u.i = t.i)) from t

select i, s1 from t, lateral (select sum(v) as s1 from u where u.i = t.i) q

select i, q.v from t, lateral (select v from u where u.i = t.i order by v limit 1) q

select i, q.v from t left join lateral (select v from u where u.i = t.i) q on true

select i, q.v from t left join lateral (select v from u where u.i > t.i) q on q.v > 15

select i, q.k from t, lateral (select t.i + 1 as k) q

select i, q.k, r.m from t, lateral (select t.i + 1 as k) q, lateral (select q.k * 2 as m) r

select i, row_number() over (order by j, s, i) from t

select i, j, rank() over (partition by i order by j), dense_rank() over (order by j), percent_rank() over (order by j), cume_dist() over (order by j), ntile(2) over (order by j, s, i) from t

select i, j, sum(j) over (partition by i), sum(j) over (order by j), count(*) over (), avg(j) over (partition by i order by j rows between 1 preceding and current row) from t where s is not null

select i, lag(j) over (order by s, j, i), lead(j, 2, -1) over (order by s, j, i), first_value(s) over (partition by i order by s, j), last_value(s) over (partition by i order by s, j rows between unbounded preceding and unbounded following), nth_value(s, 2) over (partition by i order by s, j) from t

select i, sum(j) over w, max(j) over (w rows between 1 preceding and 1 following) from t window w as (partition by i order by s, j)

select i, j from t qualify row_number() over (partition by i order by j, s) = 1

select i, sum(sum(j)) over (order by i), rank() over (order by count(*) desc, i) from t group by i

select i, sum(j) filter (where j > 1) over (partition by i), count(*) filter (where j > 1) over () from t

select i, last_value(j ignore nulls) over (order by s, i, j rows between unbounded preceding and current row) from t

select * from (select i, row_number() over (partition by i order by s, j) as n from t) q where n = 1

-- ordered
select distinct on (i) i, s from t where s is not null order by i, s desc

select * exclude (x, y) from t

select * replace (i + 1 as i) from t

select t.*, u.v from t join u on t.i = u.i

select * from range(3)

select * from generate_series(1, 3) g(n) where n > 1

select i, k from t, unnest([1, 2]) q(k)

select [1, 2, 3][2], list_contains([1, 2], 2), {'a': 1, 'b': 'x'}.b, len([1, 2]), array_to_string(['a', 'b'], '-')

select "i", T.I, "t"."j" from t

select m * 2, m + 1, m / 2, round(m, 1), m > 2.5, m = 1.50, -m from t

select x = 'nan'::double, x > 1, x < 1, isnan(x), x is null from t

select x, count(*) from t group by x

select max(x), min(x) from t

select b, not b, b and true, b or null, b::int from t

select count(*) from t where b

select i from t where j > 1 group by i having max(s) > 'a'

select (i > 1) = b from t

select sum(case when i = 1 then 1 else 0 end), count(case when i = 1 then 1 end) from t

select 'it''s' as q, '' as e, 'ü' || 'ß' as u, length('日本') as n

select date '2020-01-31' + interval 1 month as a, date '2020-02-29' - interval 1 year as b, timestamp '2020-01-01 10:00:00' - timestamp '2020-01-01 09:30:00' > interval 1 minute as c where false

select * from e

select count(*), sum(i), max(s) from e

select i, count(*) from e group by i

select t.i, e.s from t left join e on t.i = e.i

select i from t where i in (select i from e)

select i from t where i not in (select i from e)

select i, (select max(i) from e) as m, (select count(*) from e where e.i = t.i) as n from t

select i from t where i > all (select i from e)

select i from t where i > any (select i from e)

with recursive c(x) as (select 1 union all select x + 1 from c where x < 5) select * from c

with recursive r(a, b) as (select i, j from t where i is not null union select r.a, t.j from r join t on r.b = t.i) select * from r

with recursive r(a, n) as (select i, 0 from u where i is not null union all select r.a, r.n + 1 from r where r.n < (select count(*) from e) + 2) select * from r

select quantile_disc(i, 0.5), mode_count from (select count(*) as mode_count, max(i) as i from t) q group by mode_count

select (select (select max(u.v) from u where u.i = t.i)) from t

select i from t order by (select max(v) from u where u.i = t.i) nulls last, i, j, s limit 4

select i, case when exists (select 1 from u where u.i = t.i) then (select min(v) from u where u.i = t.i) else -1 end as c from t

select t.i, u.i as k, u.v, e.i as n from e, t right join u on t.i = u.i

select a.i, t.i as k, u.v from u a, t right join u on t.i = u.i and t.j > 1

select a.v, t.i, u.i as k from u a, t full join u on t.i = u.i

select a.v, t.j, b.v as w from u a, t join u b on t.i = b.i right join u c on c.i = b.i where a.i = t.i or t.i is null

select a.i as first, t.i, j, u.v from u a, t natural join u

select a.i as first, k.v, k.j from u a, (select i as x, v from u) b natural join (select i as x, j, y as v from t) k

select a.v, b.j, c.v as w from u a, t b natural right join u c where a.i is not null

select a.v, b.i, c.i as k, d.i as l from u a, t b left join u c on b.i = c.i right join u d on d.i = c.i

select x.k, t.i from u a, unnest([a.i, 7]) x(k) right join t on t.i = x.k

select t.j, u.v, a.v as w from u a, t join u using (i)

select i, unnest([i, 7]) as k from t

select unnest([i, j]) as a, unnest(['x']) as b, s from t where i > 1

select distinct unnest([i, j]) as k from t order by k desc nulls last limit 2

select i, unnest([j]) as k, row_number() over (order by i, j) as n from t where i is not null and j is not null

select i, k, n from t, unnest([i, j]) with ordinality as q(k, n)

select sum(k) as total from (select unnest([i, j]) as k from t)
