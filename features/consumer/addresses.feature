@consumer
Feature: A consumer's addresses
  A consumer keeps addresses under labels such as "home" and "work", to have orders delivered there.

  Background:
    Given the consumer "Ada"
    And "Ada" has added the address "home":
      | street        | city    | state | zip   |
      | 1 Main Street | Oakland | CA    | 94611 |

  Rule: A label stands for one address

    @command
    Scenario: Adding an address
      When "Ada" adds the address "work":
        | street         | unit    | city     | state | zip   |
        | 9 Amazing View | Unit 12 | Berkeley | CA    | 94704 |
      Then "Ada" has the addresses:
        | label | street         | unit    | city     | state | zip   |
        | home  | 1 Main Street  |         | Oakland  | CA    | 94611 |
        | work  | 9 Amazing View | Unit 12 | Berkeley | CA    | 94704 |

    @command
    Scenario: A label in use can't be given to another address
      When "Ada" adds the address "home":
        | street         | city     | state | zip   |
        | 9 Amazing View | Berkeley | CA    | 94704 |
      Then it is refused because "address with that identifier already exists"
      And the address "home" of "Ada" is:
        | street        | city    | state | zip   |
        | 1 Main Street | Oakland | CA    | 94611 |

    @command
    Scenario: Another consumer may use the same label
      Given the consumer "Grace"
      When "Grace" adds the address "home":
        | street      | city      | state | zip   |
        | 3 Navy Yard | Arlington | VA    | 22202 |
      Then the address "home" of "Grace" is:
        | street      | city      | state | zip   |
        | 3 Navy Yard | Arlington | VA    | 22202 |
      And the address "home" of "Ada" is:
        | street        | city    | state | zip   |
        | 1 Main Street | Oakland | CA    | 94611 |

    @command
    Scenario: An address without a street is none
      When "Ada" adds the address "work":
        | street | city     | state | zip   |
        |        | Berkeley | CA    | 94704 |
      Then it is refused because the street is not valid
      And "Ada" has the addresses:
        | label | street        | city    | state | zip   |
        | home  | 1 Main Street | Oakland | CA    | 94611 |

  Rule: An address can be changed and removed

    @command
    Scenario: Changing an address
      When "Ada" changes the address "home" to:
        | street         | city     | state | zip   |
        | 9 Amazing View | Berkeley | CA    | 94704 |
      Then "Ada" has the addresses:
        | label | street         | city     | state | zip   |
        | home  | 9 Amazing View | Berkeley | CA    | 94704 |

    @command
    Scenario: Removing an address
      When "Ada" removes the address "home"
      Then "Ada" has no addresses

    @command
    Scenario: A label is free again when its address has been removed
      Given "Ada" has removed the address "home"
      When "Ada" adds the address "home":
        | street         | city     | state | zip   |
        | 9 Amazing View | Berkeley | CA    | 94704 |
      Then "Ada" has the addresses:
        | label | street         | city     | state | zip   |
        | home  | 9 Amazing View | Berkeley | CA    | 94704 |

    @command
    Scenario: An address that was never added can't be changed
      When "Ada" changes the address "work" to:
        | street         | city     | state | zip   |
        | 9 Amazing View | Berkeley | CA    | 94704 |
      Then it is refused because "address with that identifier does not exist"

    @command
    Scenario: An address that was never added can't be removed
      When "Ada" removes the address "work"
      Then it is refused because "address with that identifier does not exist"

  Rule: Only a consumer's own addresses can be looked up

    @query
    Scenario: Looking up an address that was never added
      When "Ada" looks up the address "work"
      Then it is refused because "address with that identifier does not exist"

    @query
    Scenario: Looking up an address that has been removed
      Given "Ada" has removed the address "home"
      When "Ada" looks up the address "home"
      Then it is refused because "address with that identifier does not exist"

  Rule: Who never registered has no addresses

    Background:
      Given "Zoe", who never registered

    @command
    Scenario: A stranger adds an address
      When "Zoe" adds the address "home":
        | street         | city     | state | zip   |
        | 9 Amazing View | Berkeley | CA    | 94704 |
      Then it is refused because "consumer not found"

    @command
    Scenario: A stranger changes an address
      When "Zoe" changes the address "home" to:
        | street         | city     | state | zip   |
        | 9 Amazing View | Berkeley | CA    | 94704 |
      Then it is refused because "consumer not found"

    @command
    Scenario: A stranger removes an address
      When "Zoe" removes the address "home"
      Then it is refused because "consumer not found"

    @query
    Scenario: A stranger looks up an address
      When "Zoe" looks up the address "home"
      Then it is refused because "consumer not found"
