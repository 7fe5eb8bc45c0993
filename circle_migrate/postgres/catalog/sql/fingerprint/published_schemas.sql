-- since 15
-- where pg_publication_namespace
SELECT sum(hashtextextended(n::text, 13)) FROM pg_publication_namespace n
