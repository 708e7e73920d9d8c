//! What rules may ask about an address, and who answers: the caller, from memory.

use std::fmt::Debug;
use std::net::IpAddr;

/// Answers `@rbl`: whether an address or a host is on a block list.
///
/// The engine calls it in the middle of a request, on the thread of that request, and waits. So it **must answer from memory**: it
/// must neither ask a name server nor a file nor wait for a lock that is held for long. Keep the lists up to date beside the
/// traffic and look them up here; what is not known yet is not listed. It may also be called while a ruleset is built.
///
/// ```
/// use std::collections::HashSet;
/// use std::time::SystemTime;
/// use fusebox_seclang::{BlockLists, Ruleset};
///
/// /// Refreshed elsewhere, every few minutes.
/// #[derive(Debug)]
/// struct Spammers(HashSet<String>);
///
/// impl BlockLists for Spammers {
///     fn is_listed(&self, list: &str, subject: &str) -> bool {
///         list == "sbl.example.org" && self.0.contains(subject)
///     }
/// }
///
/// let rules = Ruleset::builder()
///     .block_lists(Spammers(["192.0.2.7".to_owned()].into()))
///     .text("rules.conf", r#"
///         SecRuleEngine On
///         SecRule REMOTE_ADDR "@rbl sbl.example.org" "id:1,phase:1,deny,status:403"
///     "#)
///     .build()?;
/// let mut tx = rules.transaction(SystemTime::now());
/// tx.connection("192.0.2.7:40000".parse().unwrap(), "198.51.100.1:443".parse().unwrap());
/// assert_eq!(tx.end_request_headers().map(|stopped| stopped.rule_id()), Some(1));
/// # Ok::<(), fusebox_seclang::RulesetError>(())
/// ```
pub trait BlockLists: Debug + Send + Sync {
    /// Whether `subject` is on the list that the rule names.
    ///
    /// `subject` is what the rule looks at: an address in its usual form (IPv4 that came as `::ffff:192.0.2.1` is `192.0.2.1`), or
    /// any other text, a host name perhaps, as the client sent it. What is no UTF-8 is on no list and not asked about.
    fn is_listed(&self, list: &str, subject: &str) -> bool;
}

/// Answers `@geoLookup`: where an address is.
///
/// Called in the middle of a request, as [`BlockLists`] is, and **must answer from memory** in the same way: a database that is
/// mapped or read into memory does.
///
/// ```
/// use std::net::IpAddr;
/// use std::time::SystemTime;
/// use fusebox_seclang::{GeoDatabase, GeoField, Ruleset};
///
/// #[derive(Debug)]
/// struct Documentation;
///
/// impl GeoDatabase for Documentation {
///     fn locate(&self, address: IpAddr, tell: &mut dyn FnMut(GeoField, &str)) -> bool {
///         let known = address.to_string().starts_with("192.0.2.");
///         if known {
///             tell(GeoField::CountryCode, "ZZ");
///         }
///         known
///     }
/// }
///
/// let rules = Ruleset::builder()
///     .geo_database(Documentation)
///     .text("rules.conf", r#"
///         SecRuleEngine On
///         SecRule REMOTE_ADDR "@geoLookup" "id:1,phase:1,deny,status:403,chain"
///             SecRule GEO:COUNTRY_CODE "@streq ZZ"
///     "#)
///     .build()?;
/// let mut tx = rules.transaction(SystemTime::now());
/// tx.connection("192.0.2.7:40000".parse().unwrap(), "198.51.100.1:443".parse().unwrap());
/// assert_eq!(tx.end_request_headers().map(|stopped| stopped.rule_id()), Some(1));
/// # Ok::<(), fusebox_seclang::RulesetError>(())
/// ```
pub trait GeoDatabase: Debug + Send + Sync {
    /// Tells what is known of `address`, and returns whether anything is: what `@geoLookup` answers. What was told is the `GEO`
    /// collection until the next lookup.
    fn locate(&self, address: IpAddr, tell: &mut dyn FnMut(GeoField, &str)) -> bool;
}

/// A part of the `GEO` collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GeoField {
    /// `GEO:AREA_CODE`, of a telephone number in the United States.
    AreaCode,
    /// `GEO:CITY`
    City,
    /// `GEO:COUNTRY_CODE`, two letters.
    CountryCode,
    /// `GEO:COUNTRY_CODE3`, three letters.
    CountryCode3,
    /// `GEO:COUNTRY_CONTINENT`, two letters.
    CountryContinent,
    /// `GEO:COUNTRY_NAME`
    CountryName,
    /// `GEO:DMA_CODE`, a market area in the United States.
    DmaCode,
    /// `GEO:LATITUDE`, in degrees.
    Latitude,
    /// `GEO:LONGITUDE`, in degrees.
    Longitude,
    /// `GEO:POSTAL_CODE`
    PostalCode,
    /// `GEO:REGION`, letters or digits.
    Region,
}

impl GeoField {
    const ALL: [Self; 11] = [
        Self::AreaCode,
        Self::City,
        Self::CountryCode,
        Self::CountryCode3,
        Self::CountryContinent,
        Self::CountryName,
        Self::DmaCode,
        Self::Latitude,
        Self::Longitude,
        Self::PostalCode,
        Self::Region,
    ];

    /// Its name in rules, in lower case.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AreaCode => "area_code",
            Self::City => "city",
            Self::CountryCode => "country_code",
            Self::CountryCode3 => "country_code3",
            Self::CountryContinent => "country_continent",
            Self::CountryName => "country_name",
            Self::DmaCode => "dma_code",
            Self::Latitude => "latitude",
            Self::Longitude => "longitude",
            Self::PostalCode => "postal_code",
            Self::Region => "region",
        }
    }

    pub(crate) fn is_one(name: &str) -> bool {
        Self::ALL.iter().any(|field| field.name() == name)
    }
}
